//! The repository checks itself: who imports whom, what stands where, what the README promises, what no file may contain.

mod agreements;
mod boards;
mod graph;
mod layers;
mod layout;
mod points;
mod readme;
mod source;
mod words;
