//! Several answers to one request: begun together, told apart by their index, given up together.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::api::Family;
use crate::app::App;
use crate::converse::{self, Answer, Asked, Collected};
use crate::drive::Piece;
use crate::error::ApiError;
use crate::handle::Call;
use crate::request_id::RequestId;
use crate::stream::{Carrier, KEEP_ALIVE, carry, event};
use crate::{Ending, Said, Served, Usage};

/// Answers to one request that are being given at the same time; those of a stream all are.
pub(super) const AT_ONCE: usize = 16;

/// What all answers of a request have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) id: RequestId,
    pub(super) model: String,
    pub(super) served: Served,
    pub(super) created_s: i64,
}

impl Common {
    /// What answered, in short: the same fingerprint means the same weights.
    pub(super) fn fingerprint(&self) -> String {
        let digest: String = self.served.file_sha256.chars().take(12).collect();
        format!("fp_{}_{digest}", self.served.variant)
    }
}

/// The same question several times, each with a seed of its own.
pub(super) fn repeat(asked: &Asked, n: usize) -> impl Iterator<Item = Asked> + '_ {
    (0..n as u64).map(|index| {
        let mut asked = asked.clone();
        asked.sampling.seed = asked.sampling.seed.map(|seed| seed.wrapping_add(index));
        asked
    })
}

/// Waits for all answers whole.
///
/// # Errors
/// The first refusal or failure; the other answers are given up with it.
pub(super) async fn whole(app: &Arc<App>, call: &Call, asked: &[Asked]) -> Result<(Common, Vec<Collected>), ApiError> {
    let calls = (0..asked.len()).map(|index| choice(call, index));
    let futures: Vec<_> = calls.zip(asked).map(|(call, asked)| one(app, call, asked)).collect();
    let answers: Vec<_> = stream::iter(futures).buffered(AT_ONCE).try_collect().await?;
    let common = answers.first().map(|(common, _)| common.clone()).ok_or_else(ApiError::internal)?;
    Ok((common, answers.into_iter().map(|(_, collected)| collected).collect()))
}

async fn one(app: &Arc<App>, call: Call, asked: &Asked) -> Result<(Common, Collected), ApiError> {
    let answer = converse::begin(app, &call, asked).await?;
    let common = common(&answer);
    Ok((common, converse::collect(&answer.id, answer.pieces).await?))
}

/// Begins all answers.
///
/// # Errors
/// The first refusal; the other answers are given up with it.
pub(super) async fn begin(app: &Arc<App>, call: &Call, asked: &[Asked]) -> Result<(Common, Vec<Answer>), ApiError> {
    let calls: Vec<Call> = (0..asked.len()).map(|index| choice(call, index)).collect();
    let beginning = calls.iter().zip(asked).map(|(call, asked)| converse::begin(app, call, asked));
    let answers = try_join_all(beginning).await?;
    let common = answers.first().map(common).ok_or_else(ApiError::internal)?;
    Ok((common, answers))
}

/// Each answer has records of its own, so each has an id of its own, made from the request's.
fn choice(call: &Call, index: usize) -> Call {
    Call { id: call.id.of_choice(index), ..call.clone() }
}

fn common(answer: &Answer) -> Common {
    Common {
        id: answer.id.clone(),
        model: answer.model.clone(),
        served: answer.served.clone(),
        created_s: answer.created_s,
    }
}

/// What several answers took together. A prompt that is answered `n` times is counted once.
pub(super) fn total(usages: &[Usage], n: usize) -> Usage {
    let mut total = Usage::default();
    for (index, usage) in usages.iter().enumerate() {
        if index % n.max(1) == 0 {
            total.prompt_tokens = total.prompt_tokens.saturating_add(usage.prompt_tokens);
            total.cached_tokens = total.cached_tokens.saturating_add(usage.cached_tokens);
        }
        total.generated_tokens = total.generated_tokens.saturating_add(usage.generated_tokens);
        total.reasoning_tokens = total.reasoning_tokens.saturating_add(usage.reasoning_tokens);
    }
    total
}

/// Writes several answers as one stream.
pub(super) trait Writer: Send + 'static {
    /// What comes before everything.
    fn opening(&mut self) -> String;
    /// A part of one answer.
    fn said(&mut self, choice: usize, said: Said) -> String;
    /// The end of one answer.
    fn ended(&mut self, choice: usize, ending: &Ending) -> String;
    /// What comes when all have ended, with what each took.
    fn closing(&mut self, usages: &[Usage]) -> String;
}

/// Answers with one stream of all answers; what fails ends it, and a client that leaves gives all of them up.
pub(super) fn respond(writer: impl Writer, answers: Vec<Answer>) -> Response {
    carry(written(writer, answers.into_iter().map(|answer| answer.pieces).collect()), Carrier::Events)
}

struct Telling<W, S> {
    writer: W,
    pieces: S,
    /// What each answer took, once it has ended.
    usages: Vec<Option<Usage>>,
    state: State,
}

enum State {
    Opening,
    Going,
    Over,
}

fn written(
    writer: impl Writer,
    answers: Vec<mpsc::Receiver<Piece>>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let usages = vec![None; answers.len()];
    let pieces = stream::select_all(answers.into_iter().enumerate().map(|(choice, pieces)| {
        let of_choice = move |mut pieces: mpsc::Receiver<Piece>| async move {
            pieces.recv().await.map(|piece| ((choice, piece), pieces))
        };
        stream::unfold(pieces, of_choice).boxed()
    }));
    let telling = Telling { writer, pieces, usages, state: State::Opening };
    stream::unfold(telling, |mut telling| async move {
        loop {
            let text = telling.next().await?;
            if !text.is_empty() {
                return Some((Ok(Bytes::from(text)), telling));
            }
        }
    })
}

impl<W: Writer, S: Stream<Item = (usize, Piece)> + Unpin> Telling<W, S> {
    /// What is written next, perhaps nothing; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        match self.state {
            State::Over => return None,
            State::Opening => {
                self.state = State::Going;
                return Some(self.writer.opening());
            }
            State::Going => {}
        }
        Some(match tokio::time::timeout(KEEP_ALIVE, self.pieces.next()).await {
            Err(_) => ": working\n\n".to_owned(),
            Ok(Some((_, Piece::Started))) => String::new(),
            Ok(Some((choice, Piece::Said(said)))) => self.writer.said(choice, said),
            Ok(Some((choice, Piece::End(ending)))) => {
                let mut text = self.writer.ended(choice, &ending);
                self.usages[choice] = Some(ending.usage);
                if let Some(usages) = self.usages.iter().copied().collect::<Option<Vec<_>>>() {
                    self.state = State::Over;
                    text.push_str(&self.writer.closing(&usages));
                }
                text
            }
            Ok(Some((_, Piece::Failed(error)))) => self.fail(&error),
            Ok(None) => self.fail(&ApiError::internal()),
        })
    }

    /// An event of its own, and no `[DONE]`: no client takes half an answer for whole.
    fn fail(&mut self, error: &ApiError) -> String {
        self.state = State::Over;
        event(&error.to_json(Family::OpenAi))
    }
}
