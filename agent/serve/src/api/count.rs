//! Counting the tokens of a prompt: asked and recorded as a question is, since the prompt reaches the model's tokenizer.

use std::sync::Arc;

use outpost_audit::{Io, Kind, Outcome};
use outpost_policies::Action;
use outpost_policies::content::Direction;

use crate::admit;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::kept::Keeping;
use crate::model::{self, Meant};
use crate::permit::{self, Manner, Wanted};
use crate::trail::append;
use crate::{Prompt, Timings, Usage, converse, record};

/// Tokens of a prompt.
///
/// # Errors
/// Every refusal, once it is on record.
pub(crate) async fn count(app: &Arc<App>, call: &Call, name: &str, prompt: Prompt) -> Result<u32, ApiError> {
    let Meant { resource, lane } = model::find(app, name).await;
    let wanted = Wanted { action: Action::Infer, resource, max_tokens: None };
    let manner = Manner { stream: false, tools: prompt.offers_tools() };
    let permit = permit::require_asked(app, call, wanted, manner).await?;
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
    // What would be blocked or blacked out in a question is so here: else this were a way to keep what must not be kept.
    let (prompt, found) = converse::look_at(app, call, &permit, Ok(prompt)).await?;
    let keeping = Keeping::of(&app.serving, call, &permit);
    let kept = keeping.prompt(&prompt);
    let mut turn = admit::admit_beside(app, call, &permit, &lane).await?;
    let tokens = match app.serving.backend.count(permit, name, prompt).await {
        Ok(tokens) => tokens,
        Err(error) => {
            return Err(converse::refuse(app, call, Action::Infer, object, Some(decision), error.into()).await);
        }
    };
    let of_count = |kind| {
        record::of_call(&app.serving, call, kind)
            .act(Action::Infer.word())
            .object(object.clone())
            .decision(decision.clone())
            .detail("only", "count")
    };
    let io = Io { input_tokens: Some(tokens.into()), output_tokens: Some(0), ..Io::default() };
    let result =
        Outcome { status: Some(200), ms: Some(record::milliseconds_since(call.started)), ..Outcome::default() };
    let began = found.describe(of_count(Kind::InferStart), Direction::Input);
    let started = turn.reserve(keeping.seal_request(began, kept));
    let ended = of_count(Kind::InferEnd).io(io).result(result);
    // Both are on their way before either is waited for: a client that leaves meanwhile leaves nothing open.
    let ended = turn.finish(ended, &Usage::default(), &Timings::default());
    let appended = [started, ended].map(|record| append(&app.serving, call, record));
    for appended in appended {
        appended.await.map_err(|error| record::lost(call, &error))?;
    }
    Ok(tokens)
}
