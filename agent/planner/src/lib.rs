//! Candidates, measurements and policy in; the chosen variant and the reasons out; pure.
