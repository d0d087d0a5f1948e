//! Content-addressed model files: manifests, chunks, resumable verified installs.
