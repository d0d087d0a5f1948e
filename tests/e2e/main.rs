//! Stories of the whole product, told with the real programs over real sockets.

mod kills;
mod offline;
mod strangers;
