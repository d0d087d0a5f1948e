//! Numbers that two crates state, because neither may import the other, and that must be the same.

#[test]
fn the_planner_counts_keys_and_values_as_the_engine_keeps_them() {
    assert_eq!(outpost_planner::KV_BYTES_PER_ELEMENT, outpost_engine::session::KV_BYTES_PER_ELEMENT);
}

#[test]
fn the_planner_allows_for_the_prompt_chunk_that_the_engine_reads() {
    let chunk = outpost_engine::batch::EngineOptions::default().prefill_chunk;
    assert!(outpost_planner::PREFILL_CHUNK_TOKENS >= u64::from(chunk));
}
