//! Waiting for a turn: who is woken, what becomes of those who leave, and whether the time to come back is honest.

use super::*;

fn limits(generations: usize) -> Limits {
    Limits { generations, start_within: Duration::from_secs(10), ..Limits::default() }
}

fn wish(tenant: &str) -> Wish {
    let (tenant, model) = (tenant.to_owned(), "demo".to_owned());
    Wish { tenant, class: Priority::Normal, model, prompt_bytes: 40, max_tokens: 100 }
}

impl Queue {
    async fn have_turn(self: &Arc<Self>, wish: Wish) -> Result<Place, Refused> {
        let mut place = self.enter(wish)?;
        place.turn().await;
        Ok(place)
    }
}

/// Ten bytes are two tokens and a half; a token read takes 10 ms, a generated one 100 ms, an answer has 20.
fn teach(queue: &Arc<Queue>) {
    let usage = Usage { prompt_tokens: 10, cached_tokens: 0, generated_tokens: 20, reasoning_tokens: 0 };
    let timings =
        Timings { prompt: Duration::from_millis(100), generation: Duration::from_millis(2000), ..Timings::default() };
    queue.lock().speeds.learn(&Arc::from("demo"), 40, &usage, &timings);
}

#[tokio::test]
async fn who_leaves_while_waiting_frees_the_place_at_once() {
    let queue = Queue::new(&limits(1));
    let first = queue.have_turn(wish("a")).await.unwrap();
    {
        let waiting = queue.have_turn(wish("b"));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(queue.load(), Load { running: 1, waiting: 1 });
    }
    assert_eq!(queue.load(), Load { running: 1, waiting: 0 });
    drop(first);
    assert_eq!(queue.load(), Load { running: 0, waiting: 0 });
    assert!(queue.lock().waiters.is_empty() && queue.lock().entries.is_empty());
}

#[tokio::test]
async fn who_waits_is_woken_when_a_place_comes_free() {
    let queue = Queue::new(&limits(1));
    let first = queue.have_turn(wish("a")).await.unwrap();
    let waiting = queue.have_turn(wish("b"));
    tokio::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    drop(first);
    let second = waiting.await.unwrap();
    assert_eq!(queue.load(), Load { running: 1, waiting: 0 });
    drop(second);
}

#[tokio::test]
async fn a_model_that_takes_no_more_puts_the_request_back_before_those_who_came_later() {
    let queue = Queue::new(&limits(2));
    let first = queue.have_turn(wish("a")).await.unwrap();
    let mut bounced = queue.have_turn(wish("a")).await.unwrap();
    assert!(bounced.has_company());
    let later = queue.have_turn(wish("a"));
    tokio::pin!(later);
    assert!(futures_util::poll!(later.as_mut()).is_pending());
    {
        let again = bounced.again();
        tokio::pin!(again);
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        drop(first);
        again.await;
    }
    assert!(futures_util::poll!(later.as_mut()).is_pending(), "one at a time is what the model takes");
    drop(bounced);
    later.await.unwrap();
}

#[test]
fn who_cannot_start_in_time_is_told_when_it_can_and_then_it_can() {
    let queue = Queue::new(&limits(1));
    teach(&queue);
    // Each takes 2.1 s: five start within ten seconds, the sixth would not.
    let mut places: Vec<_> = (0..5).map(|_| queue.arrive(wish("a"), 0).unwrap()).collect();
    let refused = queue.arrive(wish("b"), 0).map(|_| ());
    assert_eq!(refused, Ok(()), "a share of its own: it starts second, not sixth");
    let refused = queue.arrive(Wish { class: Priority::Batch, ..wish("b") }, 0).map(|_| ()).unwrap_err();
    // Four of `a` wait, which take until 10.5 s; the place of `b` was given up.
    assert_eq!(refused, Refused::Device { retry_after_s: 1 });
    // A second later nothing has ended, but by then it would start within ten seconds.
    assert!(queue.arrive(Wish { class: Priority::Batch, ..wish("b") }, 1000).is_ok());
    assert_eq!(places.len(), 5);
    places.clear();
    assert_eq!(queue.load(), Load { running: 0, waiting: 0 });
}

#[test]
fn the_bounds_of_the_queue_are_told_with_a_time_to_come_back() {
    let queue = Queue::new(&Limits { waiting: 3, waiting_per_tenant: 2, ..limits(1) });
    teach(&queue);
    let _running = queue.arrive(wish("a"), 0).unwrap();
    let _waiting = [queue.arrive(wish("a"), 0).unwrap(), queue.arrive(wish("a"), 0).unwrap()];
    assert_eq!(queue.arrive(wish("a"), 0).map(|_| ()), Err(Refused::Tenant { retry_after_s: 3 }));
    let _other = queue.arrive(wish("b"), 0).unwrap();
    assert_eq!(queue.arrive(wish("c"), 0).map(|_| ()), Err(Refused::Device { retry_after_s: 3 }));
}

#[test]
fn nothing_is_foretold_before_anything_was_measured() {
    let queue = Queue::new(&limits(1));
    let _places: Vec<_> = (0..10).map(|_| queue.arrive(wish("a"), 0).unwrap()).collect();
    assert_eq!(queue.load(), Load { running: 1, waiting: 9 });
}

/// What one tenant learns from a refusal is how busy the device is: the same work by others gives the same answer,
/// whoever they are and whatever they sent.
#[test]
fn a_refusal_tells_the_load_and_nothing_of_who_makes_it() {
    let told = |others: &[&str]| {
        let queue = Queue::new(&Limits { waiting: others.len() - 1, ..limits(1) });
        teach(&queue);
        let places: Vec<_> = others.iter().map(|tenant| queue.arrive(wish(tenant), 0).unwrap()).collect();
        let refused = queue.arrive(wish("watcher"), 700).map(|_| ()).unwrap_err();
        drop(places);
        refused
    };
    assert_eq!(told(&["a", "a", "a"]), told(&["b", "c", "d"]));
    assert_eq!(told(&["a", "a", "a"]), Refused::Device { retry_after_s: 2 });
}
