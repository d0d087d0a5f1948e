//! From a permit to a turn: the caller's limits, then the queue. Every refusal is on record, and so is who leaves meanwhile.

use std::sync::Arc;
use std::time::Duration;

use outpost_audit::{Kind, Outcome, Record};
use outpost_policies::Permit;

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::tenant;
use crate::queue::{Place, Refused, Wish};
use crate::quota::{Exceeded, Hold, Need};
use crate::trail::append;
use crate::{Timings, Usage, converse, record};

/// What a request would take.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    /// What names the model in the queue.
    pub(crate) lane: String,
    pub(crate) prompt_bytes: usize,
    /// Tokens of the prompt, where they were counted.
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) max_tokens: u32,
    /// Whether fewer will do, because the caller did not say how many.
    pub(crate) fewer_will_do: bool,
}

/// Somebody within the caller's limits, with a place in the queue. Dropping it gives both back, which is recorded.
pub(crate) struct Queued {
    hold: Hold,
    place: Place,
    prompt_tokens: u32,
    leaving: Leaving,
}

/// Somebody whose turn it is. Dropping it gives everything back that was not recorded.
pub(crate) struct Admitted {
    hold: Hold,
    place: Option<Place>,
    prompt_tokens: u32,
    waited: Duration,
}

/// Admits what only reads so many tokens, as making vectors does: limits, then the queue. Put [`Admitted::reserve`] on the
/// record of the start, if there is one, and [`Admitted::finish`] on that of the end.
///
/// # Errors
/// 429 or 503 with `Retry-After`, once the refusal is on record.
pub(crate) async fn admit(
    app: &Arc<App>,
    call: &Call,
    permit: &Permit,
    lane: String,
    tokens: u32,
) -> Result<Admitted, ApiError> {
    let demand = Demand {
        lane,
        prompt_bytes: (tokens as usize).saturating_mul(4),
        prompt_tokens: Some(tokens),
        max_tokens: 0,
        fewer_will_do: false,
    };
    enter(app, call, permit, demand).await?.turn().await
}

/// Admits what needs the model in memory and none of its slots, as loading it and counting tokens do: in a lane of its own,
/// so that it does not wait for those who have the slots.
///
/// # Errors
/// As [`admit`].
pub(crate) async fn admit_beside(
    app: &Arc<App>,
    call: &Call,
    permit: &Permit,
    lane: &str,
) -> Result<Admitted, ApiError> {
    admit(app, call, permit, format!("beside {lane}"), 0).await
}

/// Takes what a request needs of the caller's limits, and a place in the queue.
///
/// # Errors
/// As [`admit`].
pub(crate) async fn enter(app: &Arc<App>, call: &Call, permit: &Permit, demand: Demand) -> Result<Queued, ApiError> {
    // Not one record more for what cannot have its own: each would eat of the room that is left.
    app.serving.audit.admits(Kind::InferStart).map_err(|error| record::lost(call, &error))?;
    let refused = |error| {
        let (object, decision) = (record::object(call, permit.resource()), record::allowed(permit));
        converse::refuse(app, call, permit.action(), object, Some(decision), error)
    };
    let tenant = tenant(app, call);
    let estimate = || app.queue.prompt_tokens(&demand.lane, demand.prompt_bytes);
    let prompt_tokens = demand.prompt_tokens.unwrap_or_else(estimate);
    let need = Need { prompt_tokens, max_tokens: demand.max_tokens, fewer_will_do: demand.fewer_will_do };
    let (limits, now) = (permit.limits(), app.moment());
    let hold = match app.quotas.take(&tenant, limits, now, need) {
        Ok(hold) => hold,
        Err(exceeded) => {
            call.told.tell(app.quotas.standing(&tenant, limits, now));
            return Err(refused(exceeded_error(app, exceeded)).await);
        }
    };
    call.told.tell(hold.standing());
    let wish = Wish {
        tenant,
        class: permit.priority(),
        model: demand.lane,
        prompt_bytes: demand.prompt_bytes,
        max_tokens: hold.max_tokens(),
    };
    match app.queue.enter(wish) {
        Ok(place) => Ok(Queued { hold, place, prompt_tokens, leaving: Leaving::new(app, call, permit) }),
        Err(full) => Err(refused(full_error(app, full)).await),
    }
}

fn exceeded_error(app: &App, exceeded: Exceeded) -> ApiError {
    let after = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
    let (by, code, retry_after_s, message) = match exceeded {
        Exceeded::Requests { limit, retry_after_s } => {
            let message = format!("you may send {limit} requests a minute: try again in {retry_after_s} s");
            ("requests_per_minute", "rate_limit_exceeded", retry_after_s, message)
        }
        Exceeded::AtOnce { limit, retry_after_s } => {
            let message =
                format!("you may have {limit} requests under way at once: wait until one of them is answered");
            ("concurrent", "rate_limit_exceeded", retry_after_s, message)
        }
        Exceeded::Tokens { limit, left, retry_after_s } => {
            let message = format!(
                "you may use {limit} tokens a day and have {left} left, which is too few for this: ask for fewer, or try \
                 again in {retry_after_s} s"
            );
            ("tokens_per_day", "insufficient_quota", retry_after_s, message)
        }
    };
    app.metrics.refused(by);
    ApiError::limited(code, after(retry_after_s), message)
}

fn full_error(app: &App, refused: Refused) -> ApiError {
    match refused {
        Refused::Tenant { retry_after_s } => {
            app.metrics.refused("waiting_per_tenant");
            let message = format!("as many of your requests wait as may: try again in {retry_after_s} s");
            ApiError::limited("rate_limit_exceeded", retry_after_s, message)
        }
        Refused::Device { retry_after_s } => {
            app.metrics.refused("queue");
            let message =
                format!("the device has more to do than it can begin in time: try again in {retry_after_s} s");
            ApiError::busy(retry_after_s, message)
        }
    }
}

impl Queued {
    /// Waits for its turn.
    ///
    /// # Errors
    /// 503 if the device shuts down meanwhile, once that is on record.
    pub(crate) async fn turn(self) -> Result<Admitted, ApiError> {
        let Self { hold, mut place, prompt_tokens, leaving } = self;
        let giving_up = leaving.app.giving_up.clone();
        tokio::select! {
            () = place.turn() => {}
            () = giving_up.cancelled() => {
                let message = "the device is shutting down: ask again in a minute";
                return Err(leaving.refused(ApiError::unavailable("shutting_down", message)).await);
            }
        }
        leaving.stays();
        Ok(Admitted { hold, prompt_tokens, waited: place.waited(), place: Some(place) })
    }
}

impl Admitted {
    /// The most tokens that may be generated.
    pub(crate) fn max_tokens(&self) -> u32 {
        self.hold.max_tokens()
    }

    /// How long it waited for its turn.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether others run on the same model: when one of them ends, there is room again.
    pub(crate) fn has_company(&self) -> bool {
        self.place.as_ref().is_some_and(Place::has_company)
    }

    /// The model takes no more now: waits for another turn, before all that came later.
    pub(crate) async fn again(&mut self) {
        if let Some(place) = &mut self.place {
            place.again().await;
            self.waited = place.waited();
        }
    }

    /// Adds to the record of the start what is reserved.
    pub(crate) fn reserve(&mut self, record: Record) -> Record {
        self.hold.reserve(record)
    }

    /// The start could not be recorded: as if it had not been.
    pub(crate) fn release(&mut self) {
        self.hold.release();
    }

    /// Nothing runs any more: the next may begin, even before the end is on record. What it took is learned from.
    pub(crate) fn ended(&mut self, usage: &Usage, timings: &Timings) {
        if let Some(mut place) = self.place.take() {
            place.ended(usage, timings);
        }
    }

    /// Nothing runs any more. If it did not come to its end, it was broken off after so many generated tokens.
    pub(crate) fn broke_off(&mut self, generated: u64) {
        if let Some(mut place) = self.place.take() {
            place.broke_off(generated);
        }
    }

    /// Adds to the record of the end what it took.
    pub(crate) fn settle(&mut self, record: Record, usage: &Usage) -> Record {
        let took = u64::from(usage.prompt_tokens) + u64::from(usage.generated_tokens);
        self.hold.settle(record, took)
    }

    /// Adds to the record of the end what it took, as far as that is known of an answer that was broken off.
    pub(crate) fn settle_broken(&mut self, record: Record, generated: u64) -> Record {
        let took = u64::from(self.prompt_tokens) + generated.min(self.max_tokens().into());
        self.hold.settle(record, took)
    }

    /// Both of the end in one: nothing runs any more, and this is what it took. Where no start was recorded, the record of
    /// the end carries everything.
    pub(crate) fn finish(&mut self, record: Record, usage: &Usage, timings: &Timings) -> Record {
        self.ended(usage, timings);
        let record = if self.hold.is_reserved() { record } else { self.reserve(record) };
        self.settle(record, usage)
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admitted").field("waited", &self.waited).finish_non_exhaustive()
    }
}

/// What is asked is dropped when its client leaves, or when it is given up. This then writes the record that nobody waits
/// for.
pub(crate) struct Leaving {
    app: Arc<App>,
    call: Call,
    record: Option<Record>,
}

impl Leaving {
    pub(crate) fn new(app: &Arc<App>, call: &Call, permit: &Permit) -> Self {
        let record = record::of_call(&app.serving, call, Kind::InferDenied)
            .act(permit.action().word())
            .object(record::object(call, permit.resource()))
            .decision(record::allowed(permit));
        call.trail.waits();
        Self { app: Arc::clone(app), call: call.clone(), record: Some(record) }
    }

    /// It is refused while the client is there: the refusal, once it is on record.
    async fn refused(mut self, error: ApiError) -> ApiError {
        let Some(record) = self.record.take() else { return error };
        match append(&self.app.serving, &self.call, record.result(record::refused(&error))).await {
            Ok(_) => error,
            Err(lost) => record::lost(&self.call, &lost),
        }
    }

    /// The client is still there.
    pub(crate) fn stays(mut self) {
        self.record = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return self.call.trail.waited() };
        let (status, because) =
            if std::thread::panicking() { ApiError::panicked() } else { self.call.given_up.reason() };
        self.app.metrics.refused(because);
        let outcome = Outcome { status: Some(status), err: because.to_owned(), ..Outcome::default() };
        let appended = append(&self.app.serving, &self.call, record.result(outcome));
        // Only now, so that there is no moment in which nobody would say it.
        self.call.trail.waited();
        self.app.tasks.spawn(async move {
            if let Err(error) = appended.await {
                tracing::error!(%error, because, "that nobody waits for an answer any more could not be recorded");
            }
        });
    }
}
