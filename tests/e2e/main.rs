//! Stories of the whole product, told with the real programs over real sockets.

mod activation;
mod airgap;
mod builds;
mod centre_kills;
mod commands;
mod fairness;
mod groups;
mod hub;
mod identity;
mod kills;
mod mirror;
mod model_files;
mod neighbours;
mod network;
mod offline;
mod pressed;
mod released;
mod rollback;
mod sealed;
mod strangers;
mod supervised;
mod templates;
mod transfer;
mod updates;
mod weeks;
mod withdrawn;
mod witnessed;

/// Files of random weights in real shapes.
#[path = "../memory/shapes.rs"]
#[expect(dead_code, reason = "the measurement of memory uses the rest of it")]
mod shapes;
