//! Stories of the whole product, told with the real programs over real sockets.

mod commands;
mod kills;
mod mirror;
mod model_files;
mod offline;
mod rollback;
mod sealed;
mod strangers;
mod templates;
