//! Every name that measurements go by: vLLM's, so that dashboards made for it work, OpenTelemetry's for generative AI,
//! and our own.

/// Answers being given.
pub(crate) const RUNNING: &str = "vllm:num_requests_running";
/// Requests in the queue.
pub(crate) const WAITING: &str = "vllm:num_requests_waiting";
/// Part of the conversations' memory that is in use, 0 to 1; only where the agent measures it.
pub(crate) const KV_CACHE_USAGE: &str = "vllm:kv_cache_usage_perc";
/// Prompt tokens that were looked up among those that are there already.
pub(crate) const PREFIX_QUERIES: &str = "vllm:prefix_cache_queries_total";
/// Those of them that were found.
pub(crate) const PREFIX_HITS: &str = "vllm:prefix_cache_hits_total";
/// Tokens read.
pub(crate) const PROMPT_TOKENS: &str = "vllm:prompt_tokens_total";
/// Tokens generated.
pub(crate) const GENERATION_TOKENS: &str = "vllm:generation_tokens_total";
/// Answers that came to their end.
pub(crate) const SUCCESS: &str = "vllm:request_success_total";
/// From the request to the first of the answer.
pub(crate) const TIME_TO_FIRST_TOKEN: &str = "vllm:time_to_first_token_seconds";
/// From one part of the answer to the next.
pub(crate) const INTER_TOKEN: &str = "vllm:inter_token_latency_seconds";
/// From the request to the end of the answer.
pub(crate) const END_TO_END: &str = "vllm:e2e_request_latency_seconds";
/// In the queue.
pub(crate) const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";
/// Reading the prompt.
pub(crate) const PREFILL_TIME: &str = "vllm:request_prefill_time_seconds";
/// Generating.
pub(crate) const DECODE_TIME: &str = "vllm:request_decode_time_seconds";

/// Tokens of an answer, by type.
pub(crate) const GEN_AI_TOKENS: &str = "gen_ai.client.token.usage";
/// From the request to the end of the answer.
pub(crate) const GEN_AI_DURATION: &str = "gen_ai.server.request.duration";
/// From the request to the first of the answer.
pub(crate) const GEN_AI_FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";
/// Of each generated token after the first.
pub(crate) const GEN_AI_PER_TOKEN: &str = "gen_ai.server.time_per_output_token";

/// Requests, by route and status.
pub(crate) const REQUESTS: &str = "outpost_http_requests_total";
/// Denials, by the rule that denied.
pub(crate) const DENIALS: &str = "outpost_denials_total";
/// Requests that a limit or the queue refused, by which.
pub(crate) const REFUSALS: &str = "outpost_refusals_total";
/// Answers that were broken off, by why.
pub(crate) const ABORTED: &str = "outpost_answers_aborted_total";
/// What content rules found, by class, act and direction.
pub(crate) const CONTENT_HITS: &str = "outpost_content_hits_total";
/// Records in the audit log.
pub(crate) const AUDIT_RECORDS: &str = "outpost_audit_records";
/// From appending a record to its being durable.
pub(crate) const AUDIT_APPEND: &str = "outpost_audit_append_seconds";
/// Models in memory.
pub(crate) const MODELS_LOADED: &str = "outpost_models_loaded";
/// Which build of the agent runs: its version, its target and where it came from; only where the agent says so.
pub(crate) const BUILD: &str = "outpost_build_info";
/// Steps that the device stands back for want of memory; only where the agent says so.
pub(crate) const PRESSURE: &str = "outpost_pressure_steps";
/// Measured over predicted times, by model, variant and what was predicted.
pub(crate) const PREDICTION_RATIO: &str = "outpost_prediction_ratio";
/// Finished traces that nobody took in time.
pub(crate) const TRACES_DROPPED: &str = "outpost_traces_dropped_total";

/// The model of a vLLM measurement.
pub(crate) const MODEL_LABEL: &str = "model_name";
/// The model that answers, in OpenTelemetry's words.
pub(crate) const GEN_AI_MODEL: &str = "gen_ai.response.model";
/// What was asked of it.
pub(crate) const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
/// Whether tokens were read or generated.
pub(crate) const GEN_AI_TOKEN_TYPE: &str = "gen_ai.token.type";
/// Who serves.
pub(crate) const GEN_AI_PROVIDER: &str = "gen_ai.provider.name";
/// Tokens read.
pub(crate) const GEN_AI_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens generated.
pub(crate) const GEN_AI_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// How the answer ended.
pub(crate) const GEN_AI_FINISH: &str = "gen_ai.response.finish_reasons";
/// The most tokens that were asked for.
pub(crate) const GEN_AI_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
