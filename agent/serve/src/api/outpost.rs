//! Our own routes: reading what the device is and what it recorded. Nothing here changes anything.

pub(crate) mod checkpoint;
pub(crate) mod status;
