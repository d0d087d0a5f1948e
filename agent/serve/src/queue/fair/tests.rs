//! Shares, patience, bounds, and that nobody is lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { running: 4, waiting: 128, waiting_per_tenant: 16, patience_ms: 1000 };

fn arrive(queue: &mut Fair, tenant: &str, class: Priority, cost: u64, now_ms: u64) -> u64 {
    queue.arrive((&Arc::from(tenant), class, &Arc::from("demo")), cost, now_ms)
}

fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// Serves `steps` answers to clients that ask again as soon as they are answered; what each tenant had.
fn serve(queue: &mut Fair, clients: &[(String, u64)], steps: u64) -> BTreeMap<String, u64> {
    let mut of_ticket = BTreeMap::new();
    for (client, (tenant, cost)) in clients.iter().enumerate() {
        of_ticket.insert(arrive(queue, tenant, Priority::Normal, *cost, 0), client);
    }
    let mut running = VecDeque::new();
    let mut had = BTreeMap::new();
    for now_ms in 0..steps {
        while let Some(ticket) = queue.next(now_ms) {
            running.push_back(ticket.id);
        }
        let Some(id) = running.pop_front() else { break };
        let client = of_ticket[&id];
        let (tenant, cost) = &clients[client];
        queue.finish(id, *cost);
        *had.entry(tenant.clone()).or_default() += cost;
        of_ticket.insert(arrive(queue, tenant, Priority::Normal, *cost, now_ms), client);
    }
    had
}

#[test]
fn sixty_four_clients_of_very_different_size_get_equal_shares() {
    let bounds = Bounds { patience_ms: u64::MAX, ..BOUNDS };
    let clients: Vec<(String, u64)> =
        (0..64).map(|client| (format!("tenant-{client}"), 20 + (client % 16) * 60)).collect();
    let had: Vec<u64> = serve(&mut Fair::new(bounds), &clients, 40_000).into_values().collect();
    assert_eq!(had.len(), 64);
    assert!(jain(&had) > 0.99, "{}", jain(&had));
}

#[test]
fn a_tenant_with_many_clients_gets_no_more_than_one_with_few() {
    // As the load test does it: 28, 20, 12 and 4 clients, four at a time, and patience that is often at its end.
    let tenants = [("a", 28), ("b", 20), ("c", 12), ("d", 4)];
    let clients: Vec<(String, u64)> =
        tenants.iter().flat_map(|(tenant, count)| vec![((*tenant).to_owned(), 100); *count]).collect();
    let had: Vec<u64> =
        serve(&mut Fair::new(Bounds { patience_ms: 200, ..BOUNDS }), &clients, 10_000).into_values().collect();
    assert!(jain(&had) > 0.95, "{} {had:?}", jain(&had));
}

#[test]
fn who_was_away_saves_nothing_up_and_owes_nothing() {
    let mut queue = Fair::new(Bounds { running: 1, ..BOUNDS });
    for now_ms in 0..50 {
        arrive(&mut queue, "alone", Priority::Normal, 1000, now_ms);
        let ticket = queue.next(now_ms).unwrap();
        arrive(&mut queue, "alone", Priority::Normal, 1000, now_ms);
        queue.finish(ticket.id, 1000);
        let ticket = queue.next(now_ms).unwrap();
        if now_ms < 49 {
            queue.finish(ticket.id, 1000);
        }
    }
    let mut expected = Vec::new();
    for _ in 0..3 {
        let [alone, new] = ["alone", "new"].map(|tenant| arrive(&mut queue, tenant, Priority::Normal, 1000, 50));
        expected.extend([new, alone]);
    }
    let mut order = Vec::new();
    while queue.waiting() > 0 {
        let running = queue.running_tickets().next().map(|ticket| ticket.id).unwrap();
        queue.finish(running, 1000);
        order.push(queue.next(50).unwrap().id);
    }
    assert_eq!(order, expected, "in turn, not fifty to one");
}

#[test]
fn a_higher_class_goes_first_and_a_lower_one_does_not_wait_for_ever() {
    let mut queue = Fair::new(Bounds { running: 1, ..BOUNDS });
    let batch = arrive(&mut queue, "slow", Priority::Batch, 100, 0);
    let mut starts = 0;
    for now_ms in (0..).step_by(100) {
        arrive(&mut queue, &format!("person-{now_ms}"), Priority::Interactive, 100, now_ms);
        let ticket = queue.next(now_ms).unwrap();
        if ticket.id == batch {
            break;
        }
        assert_eq!(ticket.class, Priority::Interactive);
        queue.finish(ticket.id, 100);
        starts += 1;
    }
    assert!((10..=14).contains(&starts), "patience ends after ten, its turn comes within four more: {starts}");
}

#[test]
fn a_model_that_takes_no_more_holds_up_only_its_own() {
    let mut queue = Fair::new(BOUNDS);
    let (full, free): (Arc<str>, Arc<str>) = (Arc::from("full"), Arc::from("free"));
    let tenant: Arc<str> = Arc::from("a");
    let first = queue.arrive((&tenant, Priority::Normal, &full), 10, 0);
    let bounced = queue.arrive((&tenant, Priority::Normal, &full), 10, 0);
    let behind = queue.arrive((&tenant, Priority::Normal, &full), 10, 0);
    assert_eq!([queue.next(0).unwrap().id, queue.next(0).unwrap().id], [first, bounced]);
    queue.back(bounced);
    assert!(queue.next(0).is_none());
    let other = queue.arrive((&tenant, Priority::Normal, &free), 10, 0);
    assert_eq!(queue.next(0).unwrap().id, other);
    queue.finish(first, 10);
    assert_eq!(queue.next(0).unwrap().id, bounced, "at the head, where it was");
    assert!(queue.next(0).is_none());
    queue.finish(bounced, 10);
    assert_eq!(queue.next(0).unwrap().id, behind);
}

#[derive(Debug, Clone)]
enum Step {
    Arrive { tenant: u8, class: u8, model: u8, cost: u16 },
    Next,
    Finish { which: u8, took: u16 },
    Back { which: u8 },
    Leave { which: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..5, 0_u8..3, 0_u8..2, 1_u16..500).prop_map(|(tenant, class, model, cost)| Step::Arrive {
            tenant,
            class,
            model,
            cost
        }),
        Just(Step::Next),
        (any::<u8>(), 0_u16..500).prop_map(|(which, took)| Step::Finish { which, took }),
        any::<u8>().prop_map(|which| Step::Back { which }),
        any::<u8>().prop_map(|which| Step::Leave { which }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: bounds hold, nobody is lost or served twice, a tenant's requests of one class
    /// and model start in their order, and once all is over nothing is remembered.
    #[test]
    fn nobody_is_lost_and_bounds_hold(steps in prop::collection::vec(step(), 1..300)) {
        let bounds = Bounds { running: 3, waiting: 12, waiting_per_tenant: 5, patience_ms: 50 };
        let mut queue = Fair::new(bounds);
        let (mut waiting, mut running) = (BTreeSet::new(), BTreeSet::new());
        let pick = |set: &BTreeSet<u64>, which: u8| set.iter().nth(usize::from(which) % set.len().max(1)).copied();
        for (now_ms, step) in (0..).step_by(10).zip(steps) {
            match step {
                Step::Arrive { tenant, class, model, cost } => {
                    let name = format!("tenant-{tenant}");
                    let before = queue.waiting();
                    if queue.may_wait(&name).is_ok() {
                        prop_assert!(before < bounds.waiting);
                        let class = [Priority::Batch, Priority::Normal, Priority::Interactive][usize::from(class)];
                        let model: Arc<str> = Arc::from(format!("model-{model}"));
                        waiting.insert(queue.arrive((&Arc::from(name), class, &model), cost.into(), now_ms));
                    }
                }
                Step::Next => {
                    if let Some(ticket) = queue.next(now_ms) {
                        prop_assert!(waiting.remove(&ticket.id), "only who waits starts, and once");
                        running.insert(ticket.id);
                    }
                }
                Step::Finish { which, took } => {
                    if let Some(id) = pick(&running, which) {
                        queue.finish(id, took.into());
                        running.remove(&id);
                    }
                }
                Step::Back { which } => {
                    if let Some(id) = pick(&running, which) {
                        queue.back(id);
                        running.remove(&id);
                        waiting.insert(id);
                    }
                }
                Step::Leave { which } => {
                    if let Some(id) = pick(&waiting, which) {
                        prop_assert!(queue.leave(id));
                        prop_assert!(!queue.leave(id));
                        waiting.remove(&id);
                    }
                }
            }
            prop_assert_eq!((queue.waiting(), queue.running()), (waiting.len(), running.len()));
            prop_assert!(queue.running() <= bounds.running);
        }
        // Drained: everybody who waits gets a turn.
        let mut now_ms = 1_000_000;
        while !waiting.is_empty() || !running.is_empty() {
            now_ms += 10;
            match queue.next(now_ms) {
                Some(ticket) => {
                    prop_assert!(waiting.remove(&ticket.id));
                    running.insert(ticket.id);
                }
                None => {
                    let id = *running.iter().next().expect("who waits alone starts");
                    queue.finish(id, 1);
                    running.remove(&id);
                }
            }
        }
        prop_assert!(queue.flows.is_empty() && queue.lanes.is_empty() && queue.floors.is_empty());
    }

    /// Two tenants that always have something waiting never drift further apart than what may run at once.
    #[test]
    fn shares_never_drift_apart(costs in prop::collection::vec(1_u64..1000, 2..40)) {
        let most = costs.iter().max().copied().unwrap_or(0);
        let mut queue = Fair::new(Bounds { patience_ms: u64::MAX, ..BOUNDS });
        let mut had = [0_u64; 2];
        for turn in 0..200 {
            for tenant in 0..2 {
                while queue.flows.get(&(Arc::from(format!("t{tenant}")), Priority::Normal)).is_none_or(|flow| flow.waiting.is_empty()) {
                    arrive(&mut queue, &format!("t{tenant}"), Priority::Normal, costs[(turn * (tenant + 1)) % costs.len()], 0);
                }
            }
            while let Some(ticket) = queue.next(0) {
                had[usize::from(&*ticket.tenant == "t1")] += ticket.cost;
                let tenant = ticket.tenant.to_string();
                if queue.flows[&(ticket.tenant, Priority::Normal)].waiting.is_empty() {
                    arrive(&mut queue, &tenant, Priority::Normal, costs[turn % costs.len()], 0);
                }
            }
            let first = queue.running_tickets().map(|ticket| (ticket.id, ticket.cost)).min().unwrap();
            queue.finish(first.0, first.1);
            prop_assert!(had[0].abs_diff(had[1]) <= 2 * most, "{had:?}, at most {most} each");
        }
    }
}
