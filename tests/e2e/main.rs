//! Stories of the whole product, told with the real programs over real sockets.

mod activation;
mod airgap;
mod centre_kills;
mod commands;
mod fairness;
mod hub;
mod identity;
mod kills;
mod mirror;
mod model_files;
mod neighbours;
mod network;
mod offline;
mod rollback;
mod sealed;
mod strangers;
mod supervised;
mod templates;
mod transfer;
mod weeks;
mod withdrawn;
mod witnessed;
