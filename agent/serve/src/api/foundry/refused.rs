//! What Foundry does and this device does not, whoever asks.

use crate::error::ApiError;

pub(crate) async fn register() -> ApiError {
    ApiError::not_offered("no other server's models are registered here: pull a model with `/openai/download`")
}

pub(crate) async fn gpu() -> ApiError {
    ApiError::not_offered("models run on the processor here: there is no GPU to choose")
}

pub(crate) async fn shutdown() -> ApiError {
    ApiError::not_offered("the agent is not stopped over its API: stop its service on the device")
}
