//! The whole house at once: the demo, the stories, the self-checks and the benchmarks.
