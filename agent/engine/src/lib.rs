//! GGUF in, tokens out: the inference engine, knowing no network, no policy and no async runtime.
