//! Renewals that are cut and crashed at every step, against a control plane that tests hold in their hands.

use std::collections::BTreeSet;
use std::sync::Mutex;

use outpost_contract::EnrolResponse;
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, date_time_ymd};

use super::*;
use crate::enrol::certificate_request;
use crate::identity::Slot;
use crate::link::Phase;

const BEGIN_S: i64 = 1_700_000_000;
const LIFE_S: i64 = 900_000;

/// What a call fails with, and when: before it had its effect or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Before,
    After,
}

/// A control plane as the real one decides: both certificates count until the new one is used.
struct FakeServer {
    issuer: Issuer<'static, KeyPair>,
    authority: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeSet<String>,
    newest: String,
    calls: u32,
    cut: Option<(u32, Cut)>,
    revoked: bool,
    forgets: bool,
}

impl FakeServer {
    fn new(clock: &Clock) -> Arc<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap().pem();
        let (issuer, state) = (Issuer::new(parameters, key), Mutex::default());
        Arc::new(Self { issuer, authority, clock: clock.clone(), state })
    }

    fn sign(&self, request: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        let at = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.cast_unsigned());
        request.params.not_before = at(self.clock.now_s());
        request.params.not_after = at(self.clock.now_s() + LIFE_S);
        request.params.distinguished_name = rcgen::DistinguishedName::new();
        request.params.distinguished_name.push(DnType::CommonName, "till-7");
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// An enrolled device in a directory.
    fn enrol(&self, dir: &Path) -> Identity {
        let key = new_key().unwrap();
        key.write(dir.join(Slot::First.key_file())).unwrap();
        let certificate = self.sign(&certificate_request(&key).unwrap());
        self.state.lock().unwrap().counts.insert(certificate.clone());
        let enrolled = EnrolResponse {
            device: "till-7".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            certificate,
            authority: self.authority.clone(),
            trusted_root: "{}".into(),
            director_keys: vec!["ab".repeat(32)],
            broker: "127.0.0.1:8883".into(),
            audit_witness: String::new(),
            audit_mirror: String::new(),
        };
        Identity::keep(dir, enrolled, "https://127.0.0.1:1", key).unwrap()
    }

    fn lets_in(&self, identity: &Identity) -> bool {
        self.state.lock().unwrap().counts.contains(&identity.credential().certificate)
    }

    /// One call: has its effect unless it is cut before, and answers unless it is cut after.
    fn called<T>(&self, effect: impl FnOnce(&mut State) -> Result<T, RenewalError>) -> Result<T, RenewalError> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let cut = state.cut.filter(|(call, _)| *call == state.calls).map(|(_, cut)| cut);
        if cut == Some(Cut::Before) {
            return Err(RenewalError::NotProven("the wire was cut".to_owned()));
        }
        if state.revoked {
            let (code, message) = ("revoked".to_owned(), String::new());
            return Err(WebError::Refused { status: 403, code, message }.into());
        }
        let outcome = effect(&mut state);
        if cut.is_some() { Err(RenewalError::NotProven("the wire was cut".to_owned())) } else { outcome }
    }
}

#[async_trait]
impl Server for FakeServer {
    async fn certify(&self, key: &Secret) -> Result<String, RenewalError> {
        let certificate = self.sign(&certificate_request(key)?);
        self.called(|state| {
            state.counts.insert(certificate.clone());
            state.newest.clone_from(&certificate);
            if state.forgets {
                state.counts.remove(&certificate);
            }
            Ok(certificate)
        })
    }

    async fn prove(&self, credential: &Credential) -> Result<(), RenewalError> {
        self.called(|state| {
            state.counts.contains(&credential.certificate).then_some(()).ok_or(RenewalError::NotAuthorized)
        })
    }

    async fn call(&self) -> Result<(), RenewalError> {
        self.called(|state| {
            let newest = state.newest.clone();
            state.counts.retain(|certificate| *certificate == newest);
            Ok(())
        })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    server: Arc<FakeServer>,
    clock: Clock,
    database: SyncDatabase,
}

impl Bench {
    fn new() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(BEGIN_S));
        let server = FakeServer::new(&clock);
        server.enrol(dir.path());
        let database = SyncDatabase::open(dir.path()).unwrap();
        Self { dir, server, clock, database }
    }

    /// What a start of the agent makes of the directory.
    fn start(&self) -> Renewal {
        let identity = Identity::load(self.dir.path()).expect("one working identity");
        assert!(self.server.lets_in(&identity), "and it is let in");
        let server: Arc<dyn Server> = Arc::clone(&self.server) as _;
        Renewal::with(self.dir.path(), &identity, server, &self.database, &self.clock)
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("sync.db"));
        names.sort();
        names
    }

    /// Nothing is left of the renewal but its outcome.
    fn is_renewed(&self, before: &Fingerprint) {
        assert_eq!(self.files(), ["device-2.key", "identity.json"]);
        let renewal = self.start();
        assert_ne!(renewal.identity.fingerprint().unwrap(), *before);
        assert_eq!(renewal.slots.spare(&renewal.identity).unwrap(), Spare::Nothing);
    }
}

fn link(refusals: u32, reason: Option<&str>, phase: Phase) -> Connectivity {
    Connectivity { phase, last_contact_s: 0, reason: reason.map(str::to_owned), refusals }
}

#[tokio::test]
async fn a_crash_between_any_two_changes_of_the_disk_leaves_one_working_identity_and_the_renewal_goes_on() {
    let mut steps = 0;
    loop {
        let bench = Bench::new();
        let renewal = bench.start();
        let before = renewal.identity.fingerprint().unwrap();
        let mut done = false;
        for _ in 0..steps {
            done = renewal.advance().await.unwrap() == Advance::Done;
        }
        drop(renewal);
        let mut after = bench.start();
        let mut more = 0;
        while !done {
            // And once more at each of the following steps.
            done = after.advance().await.unwrap() == Advance::Done;
            after = bench.start();
            more += 1;
            assert!(more < 10, "it ends");
        }
        bench.is_renewed(&before);
        if more == 0 {
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 5, "key, certificate, swap, old key, mark");
}

#[tokio::test]
async fn a_wire_that_is_cut_at_any_call_before_or_after_its_effect_only_delays() {
    for call in 1..=3 {
        for cut in [Cut::Before, Cut::After] {
            let bench = Bench::new();
            bench.server.state.lock().unwrap().cut = Some((call, cut));
            let (events, mut heard) = mpsc::channel(16);
            let before = bench.start().identity.fingerprint().unwrap();
            let mut attempts = 0;
            // A new start each time: nothing in memory is needed to go on.
            while bench.start().renew(&events).await.is_err() {
                attempts += 1;
                assert!(attempts < 3, "call {call}, {cut:?}");
            }
            bench.is_renewed(&before);
            let mut renewed = 0;
            while let Ok(event) = heard.try_recv() {
                renewed += u32::from(matches!(event, IdentityEvent::Renewed { .. }));
            }
            assert_eq!(renewed, 1, "call {call}, {cut:?}: said once");
        }
    }
}

#[tokio::test]
async fn connections_that_were_set_up_before_show_the_new_certificate_after_the_swap() {
    let bench = Bench::new();
    let renewal = bench.start();
    let (clone, shown) = (renewal.identity.clone(), renewal.identity.shown());
    let leaf = || {
        use rustls::client::ResolvesClientCert as _;
        shown.resolve(&[], &[]).unwrap().cert[0].clone()
    };
    let before = leaf();
    renewal.renew(&mpsc::channel(4).0).await.unwrap();
    assert_ne!(leaf(), before);
    assert_eq!(clone.credential(), Identity::load(bench.dir.path()).unwrap().credential());
    // Twice: back in the first slot.
    renewal.renew(&mpsc::channel(4).0).await.unwrap();
    assert_eq!(bench.files(), ["device.key", "identity.json"]);
}

#[tokio::test]
async fn a_certificate_that_the_broker_does_not_take_is_asked_for_again_and_the_old_one_stays() {
    let bench = Bench::new();
    bench.server.state.lock().unwrap().forgets = true;
    let renewal = bench.start();
    let before = renewal.identity.fingerprint().unwrap();
    let (events, _heard) = mpsc::channel(4);
    assert!(matches!(renewal.renew(&events).await, Err(RenewalError::NotAuthorized)));
    assert_eq!(bench.start().identity.fingerprint().unwrap(), before);
    bench.server.state.lock().unwrap().forgets = false;
    renewal.renew(&events).await.unwrap();
    bench.is_renewed(&before);
}

#[tokio::test]
async fn a_renewal_is_due_when_a_third_of_its_life_is_left_and_not_for_all_at_once() {
    let bench = Bench::new();
    let online = link(0, None, Phase::Online);
    let mut renewal = bench.start();
    renewal.jitter = 0;
    let first_s = renewal.due_s();
    assert_eq!(first_s, BEGIN_S + LIFE_S - LIFE_S / 3);
    renewal.jitter = 255;
    assert!(renewal.due_s() > first_s + LIFE_S / 25 && renewal.due_s() < first_s + LIFE_S / 24 + 1);
    assert!(!renewal.is_wanted(&online));
    bench.clock.advance(Duration::from_secs(LIFE_S.cast_unsigned()));
    assert!(renewal.is_wanted(&online));
    // A clock that runs behind: the broker knows better.
    let renewal = Bench::new().start();
    assert!(renewal.is_wanted(&link(0, Some("TLS: received fatal alert: CertificateExpired"), Phase::Offline)));
    assert!(!renewal.is_wanted(&link(0, Some("TLS: timed out"), Phase::Offline)));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_hears_of_it_once_and_hears_when_it_is_let_in_again() {
    let bench = Bench::new();
    bench.server.state.lock().unwrap().revoked = true;
    let (say, connectivity) = watch::channel(link(2, Some("refused"), Phase::Offline));
    let (events, mut heard) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.start().run(connectivity, events, stop.clone()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(heard.try_recv().is_err(), "two refusals may be a mistake");
    assert_eq!(bench.server.state.lock().unwrap().calls, 0);
    for refusals in 3..6 {
        say.send_replace(link(refusals, Some("refused"), Phase::Offline));
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    assert_eq!(heard.try_recv().unwrap(), IdentityEvent::Revoked);
    assert!(heard.try_recv().is_err(), "said once");
    assert_eq!(bench.database.revoked_s().unwrap(), Some(BEGIN_S));
    say.send_replace(link(0, None, Phase::Online));
    assert_eq!(heard.recv().await.unwrap(), IdentityEvent::Admitted);
    assert_eq!(bench.database.revoked_s().unwrap(), None);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_by_itself_backs_off_while_the_network_is_gone_and_then_comes() {
    let bench = Bench::new();
    bench.clock.advance(Duration::from_secs((LIFE_S - 10).cast_unsigned()));
    bench.server.state.lock().unwrap().cut = Some((1, Cut::After));
    let (_say, connectivity) = watch::channel(link(0, Some("no route"), Phase::Offline));
    let (events, mut heard) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.start().run(connectivity, events, stop.clone()));
    assert!(matches!(heard.recv().await.unwrap(), IdentityEvent::NotRenewed { .. }));
    assert!(matches!(heard.recv().await.unwrap(), IdentityEvent::Renewed { .. }));
    stop.cancel();
    running.await.unwrap();
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_place_of_a_pending_renewal_are_cleared_away(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let identity = FakeServer::new(&Clock::fixed(BEGIN_S)).enrol(dir.path());
        let slots = Slots::new(dir.path());
        std::fs::write(dir.path().join("renewal.json"), bytes).unwrap();
        new_key().unwrap().write(dir.path().join(Slot::Second.key_file())).unwrap();
        proptest::prop_assert_eq!(slots.spare(&identity).unwrap(), Spare::Left);
        proptest::prop_assert!(!slots.tidy(&identity).unwrap() && slots.tidy(&identity).unwrap());
        proptest::prop_assert_eq!(slots.spare(&identity).unwrap(), Spare::Nothing);
    }
}
