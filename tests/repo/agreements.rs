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

#[test]
fn the_planner_counts_the_pages_and_the_largest_pass_of_the_engine() {
    use outpost_engine::batch::{most_logits, most_tokens};
    use outpost_planner::{CHECKED_TOGETHER, PAGE_TOKENS, PREFILL_CHUNK_TOKENS, SCORED_TOGETHER};
    assert_eq!(PAGE_TOKENS, outpost_engine::session::PAGE_TOKENS as u64);
    let chunk = u32::try_from(PREFILL_CHUNK_TOKENS).expect("a chunk is small");
    for slots in [1u32, 4, 8, 9, 64] {
        let slots_wide = u64::from(slots);
        assert_eq!(most_logits(slots), slots_wide + CHECKED_TOGETHER + SCORED_TOGETHER);
        assert_eq!(most_tokens(slots, chunk), PREFILL_CHUNK_TOKENS + slots_wide.max(CHECKED_TOGETHER));
    }
}
