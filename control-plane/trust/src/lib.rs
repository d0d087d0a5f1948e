//! The signed catalogue (TUF) and signed documents (DSSE): sign on one side, verify on the other.
