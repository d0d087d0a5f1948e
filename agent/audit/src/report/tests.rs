//! The report of logs.
