//! Everything that can go wrong with a fleet, each with its way out.

use std::net::SocketAddr;
use std::path::PathBuf;

use outpost_contract::{BuildVersion, CommandId, DeviceId, Fingerprint};
use outpost_trust::catalogue::PublishError;

use crate::blobs::BlobError;
use crate::broker::BrokerError;
use crate::bulk::BulkError;
use crate::bundle::BundleError;
use crate::ca::CaError;
use crate::config::ConfigError;
use crate::db::DbError;
use crate::files::FileError;
use crate::keys::KeysError;
use crate::policy_desk::DeskError;
use crate::tls::TlsError;
use crate::tokens::TokenError;

/// Something could not be done with the fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no fleet yet.
    #[error("there is no fleet in `{0}`; run `outpost-control init --state {0}`")]
    NotInitialised(PathBuf),
    /// There is one already.
    #[error("there is a fleet in `{0}` already; it is not replaced")]
    Initialised(PathBuf),
    /// There is one already, in the PostgreSQL.
    #[error(
        "the database holds a fleet already; for one more server of it, copy `tls`, `keys` and `outpost-control.toml` from the \
         state directory of its first server (or restore a backup of that), then run `outpost-control serve`"
    )]
    InitialisedThere,
    /// The state directory is that of another fleet.
    #[error(
        "the authority in `{0}` is not that of the fleet in the database; copy `tls` and `keys` from its first server"
    )]
    OtherFleet(PathBuf),
    /// Another server with a broker of its own, or one that leads, uses the database.
    #[error(
        "another server on this database leads, and this one has a broker inside, which the others' devices would not find; \
         stop that one first, or set `external_broker` for both"
    )]
    SecondBroker,
    /// Another server runs on the directory.
    #[error("another `outpost-control serve` runs on `{0}`; stop it first")]
    Locked(PathBuf),
    /// Nobody signed a root yet.
    #[error("no root was signed yet; run `outpost-control keys create --keys DIR`")]
    NoRoot,
    /// There is a root already, and this would be another first one.
    #[error("a root was signed already; devices that trust it would not trust a new one")]
    RootExists,
    /// Nothing was released yet.
    #[error("there is no catalogue yet; run `outpost-control catalogue release`")]
    NoCatalogue,
    /// The model is not in the catalogue.
    #[error("model `{0}` is not in the catalogue; `outpost-control catalogue ls` shows what is")]
    UnknownModel(String),
    /// No build of the agent of that version is in the catalogue.
    #[error(
        "no build of the agent of version `{0}` is in the catalogue; `outpost-control build ls` shows those that are"
    )]
    UnknownBuild(BuildVersion),
    /// The device's agent cannot be replaced by a rollout.
    #[error("the agent of `{0}` is too old to be replaced by a rollout; upgrade its package once")]
    AgentTooOld(DeviceId),
    /// The device is not enrolled, or was revoked.
    #[error("device `{0}` is not enrolled; `outpost-control device ls` shows those that are")]
    UnknownDevice(DeviceId),
    /// No record of the device's audit log has arrived.
    #[error("no audit log of `{0}` is mirrored; `outpost-control audit ls` shows those that are")]
    NotMirrored(DeviceId),
    /// A command says what no device would do.
    #[error("no such command can be given: {0}")]
    BadCommand(String),
    /// The device was never given that command, or it is forgotten.
    #[error("there is no command `{0}`; `outpost-control device commands` shows those that are remembered")]
    UnknownCommand(CommandId),
    /// The name belongs to the control plane itself.
    #[error("`{0}` is not a name for a device; choose another")]
    ReservedName(DeviceId),
    /// A key was allowed as another device.
    #[error("the key {key} was allowed as `{device}` already; revoke that device first")]
    KeyTaken {
        /// The key.
        key: Fingerprint,
        /// The other device.
        device: DeviceId,
    },
    /// A device of that name is there, with another key.
    #[error("`{0}` is enrolled with another key; revoke it first, or choose another name")]
    NameTaken(DeviceId),
    /// Nobody asked with that key.
    #[error("no device asked with the key {0}; `outpost-control device requests` shows those that did")]
    NoRequest(Fingerprint),
    /// The key was not allowed.
    #[error("the key {0} is not allowed; `GET /v1/enrolment/keys` lists those that are")]
    NoAllowedKey(Fingerprint),
    /// No code of that name can still be used.
    #[error("there is no such open code; `GET /v1/enrolment/codes` lists those that nobody has used")]
    NoCode,
    /// A list cannot be used.
    #[error(transparent)]
    List(#[from] BulkError),
    /// The name of a site is none.
    #[error("`{}` is no name for a site: write 1 to 64 of a-z, 0-9 and `-`, as in `store-12`", .0.escape_debug())]
    Site(String),
    /// A selector cannot be read.
    #[error("{0}")]
    Selector(#[from] outpost_selector::SelectorError),
    /// Groups go round in circles.
    #[error(transparent)]
    Groups(#[from] outpost_selector::GroupError),
    /// There is no such group.
    #[error("there is no group `{}`; `outpost-control group ls` shows those that are", .0.escape_debug())]
    UnknownGroup(String),
    /// A fleet file cannot be used.
    #[error(transparent)]
    FleetFile(#[from] crate::onefile::FleetFileError),
    /// What was asked of a rollout cannot be done.
    #[error(transparent)]
    Rollout(#[from] outpost_rollout::Refusal),
    /// There is no such rollout.
    #[error("there is no rollout `{}`; `outpost-control rollout ls` shows those that are", .0.escape_debug())]
    UnknownRollout(String),
    /// A rollout is written wrongly.
    #[error("{0}")]
    RolloutRequest(String),
    /// Somebody else wrote the rollout in the same moment.
    #[error("the rollout `{0}` changed in this moment; try again")]
    RolloutBusy(String),
    /// A label, a group or a question that cannot be.
    #[error("{0}")]
    Inventory(String),
    /// A code's validity is out of bounds.
    #[error("a code is valid for 1 second to 30 days, not {0} seconds")]
    CodeValidity(i64),
    /// A variant or a policy bundle may not be released.
    #[error("`{what}` cannot be released: {why}")]
    Release {
        /// A file or target.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another release came in between.
    #[error("another catalogue was published meanwhile; try again")]
    Overtaken,
    /// A root does not fit this server.
    #[error("the root cannot be put in force: {0}")]
    Root(String),
    /// Devices would not follow.
    #[error("the earlier key cannot be retired yet: {0}; `--force` retires it all the same")]
    NotYet(String),
    /// A root that is in force cannot be read.
    #[error("a root in the state directory cannot be used: {0}")]
    Catalogue(#[from] outpost_trust::CatalogueError),
    /// No broker to write files for.
    #[error("`external_broker` is not set in `outpost-control.toml`; devices would not find that broker")]
    NoExternalBroker,
    /// What was awaited did not come.
    #[error("device `{device}` did not report {what} within {seconds} seconds")]
    TimedOut {
        /// The device.
        device: DeviceId,
        /// What was awaited.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// A listener cannot listen.
    #[error("cannot listen on {address}: {source}; is another program using the port?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Certificates.
    #[error(transparent)]
    Certificates(#[from] CaError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Signing a catalogue.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Signing a desired state.
    #[error("cannot sign a desired state: {0}")]
    Sign(#[from] outpost_trust::dsse::DsseError),
    /// Tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Files.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bundle on a stick.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The mirror of an audit log, or a key that cosigns.
    #[error(transparent)]
    Audit(#[from] outpost_audit::AuditError),
    /// The memory of the witness.
    #[error(transparent)]
    Witness(#[from] outpost_audit::witness::StateError),
    /// A proof from the mirror of an audit log.
    #[error(transparent)]
    Proof(#[from] outpost_audit::consistency::ProofError),
    /// The rules or the scope of a token do not let somebody do it.
    #[error("this may not be done: {0}")]
    Forbidden(String),
    /// A person, a role or a token is written wrongly, or there already.
    #[error("{0}")]
    Person(String),
    /// There is no such person or token.
    #[error("there is no `{}`; `outpost-control person ls` and `outpost-control token ls` show who is there", .0.escape_debug())]
    UnknownPerson(String),
    /// The caller has no such session.
    #[error("you have no session `{0}`; `GET /v1/sessions` lists those you have")]
    NoSession(String),
    /// Signing in failed.
    #[error("name, password or code is wrong")]
    SignIn,
    /// Signing in failed too often.
    #[error("signing in failed too often; try again in {0} seconds")]
    HeldBack(i64),
    /// Somebody was not signed in by a provider.
    #[error(transparent)]
    Login(#[from] crate::people::LoginError),
    /// What was to be changed is not any more as the client knew it.
    #[error("it was changed meanwhile; read it again, and send `If-Match` with the new `ETag`")]
    Changed,
    /// A model may not be assigned, approved or withdrawn.
    #[error(transparent)]
    Model(#[from] crate::models::ModelError),
    /// An act cannot be recorded.
    #[error("cannot be recorded: {0}")]
    Record(String),
    /// Nothing of that number was found against the device's logs.
    #[error("there is no incident {1} of `{0}`; `outpost-control audit incidents {0}` lists those that are")]
    UnknownIncident(DeviceId, i64),
    /// A search or report that cannot be.
    #[error("{0}")]
    Search(String),
    /// A webhook that cannot be.
    #[error("{0}")]
    Webhook(String),
    /// A field of a webhook that is to be made is written wrongly.
    #[error("{why}")]
    WebhookField {
        /// The field, as [`NewWebhook`](crate::NewWebhook) names it.
        field: &'static str,
        /// What is wrong with it, and the way out.
        why: String,
    },
    /// There is no such webhook.
    #[error("there is no webhook `{}`; `outpost-control webhook ls` shows those that are", .0.escape_debug())]
    UnknownWebhook(String),
    /// An address that requests may not go to.
    #[error(transparent)]
    Outgoing(#[from] outpost_hub::outgoing::OutgoingError),
    /// The control plane's own rules.
    #[error(transparent)]
    Rules(#[from] outpost_policies::ControlRulesError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The policy desk.
    #[error(transparent)]
    Desk(#[from] DeskError),
}
