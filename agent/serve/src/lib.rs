//! The local HTTP API: who is calling, may they, and the answer as a stream.
