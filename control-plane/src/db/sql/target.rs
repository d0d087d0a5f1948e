//! Which PostgreSQL, as whom, and by which wire: nothing in the clear beyond this machine unless it is asked for by name.

use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::config::DatabaseSettings;
use crate::files::{self, FileError};
use crate::tls::{self, TlsError};

/// Largest file with a password.
const PASSWORD_BYTES: u64 = 64 * 1024;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection whose other end is gone without a word is given up within half a minute.
const SILENCE: Duration = Duration::from_secs(10);

/// The address of a PostgreSQL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read.
    #[error("the database's address cannot be used: {0}; expected `postgres://USER@HOST/DATABASE`")]
    Address(String),
    /// It holds a password.
    #[error(
        "the database's address holds a password, which others could read; take it out, and put it into a file \
         (`password_file` of `[database]`), into PGPASSFILE or into PGPASSWORD"
    )]
    Password,
    /// It would be spoken to in the clear.
    #[error(
        "the database is on another machine: name its authority (`authority` of `[database]`, a PEM file), or write \
         `?sslmode=disable` if nobody else is on the line"
    )]
    Clear,
    /// The file with the password.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where to connect to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(super) config: Config,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    shown: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Target").field(&self.shown).finish()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl Target {
    /// Reads the address, and finds the password: in the named file, else in PGPASSWORD, else in PGPASSFILE.
    pub(crate) fn of(settings: &DatabaseSettings) -> Result<Self, TargetError> {
        let mut config = Config::from_str(&settings.url).map_err(|error| TargetError::Address(text(&error)))?;
        if config.get_password().is_some() {
            return Err(TargetError::Password);
        }
        let database = config.get_dbname().ok_or_else(|| TargetError::Address("it names no database".to_owned()))?;
        let user = config.get_user().unwrap_or_default();
        let (host, is_near) = match config.get_hosts().first() {
            None => return Err(TargetError::Address("it names no host".to_owned())),
            Some(Host::Unix(path)) => (path.display().to_string(), true),
            Some(Host::Tcp(name)) => (name.clone(), is_loopback(name)),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let shown = format!("{user}@{host}:{port}/{database}");
        let asks = Asks { host: &host, port, database, user };
        let password = match &settings.password_file {
            Some(path) => Some(files::read_text(path, PASSWORD_BYTES)?.trim_end_matches(['\r', '\n']).to_owned()),
            None => std::env::var("PGPASSWORD").ok().map_or_else(|| asks.password_file(), |word| Ok(Some(word)))?,
        };
        let tls = match (&settings.authority, config.get_ssl_mode()) {
            (_, SslMode::Disable) => None,
            (Some(authority), _) => Some(tls::outgoing(authority)?),
            (None, SslMode::Require) => return Err(TargetError::Clear),
            (None, _) if is_near => None,
            (None, _) => return Err(TargetError::Clear),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = password {
            config.password(password);
        }
        config.application_name("outpost-control").connect_timeout(CONNECT).tcp_user_timeout(SILENCE * 2);
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 2).keepalives_retries(3);
        Ok(Self { config, tls, shown })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error with its cause: the library's own words say little.
fn text(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Whose password is looked for.
struct Asks<'a> {
    host: &'a str,
    port: u16,
    database: &'a str,
    user: &'a str,
}

impl Asks<'_> {
    fn password_file(&self) -> Result<Option<String>, TargetError> {
        let Some(path) = std::env::var_os("PGPASSFILE").map(PathBuf::from) else { return Ok(None) };
        Ok(self.password_in(&files::read_text(&path, PASSWORD_BYTES)?))
    }

    /// The first line `host:port:database:user:password` that fits; `*` fits everything, `\` takes the next character as it is.
    fn password_in(&self, lines: &str) -> Option<String> {
        let wanted = [self.host, &self.port.to_string(), self.database, self.user].map(str::to_owned);
        let fits = |fields: &[String]| wanted.iter().zip(fields).all(|(wanted, field)| field == "*" || field == wanted);
        let lines = lines.lines().filter(|line| !line.starts_with('#')).map(fields);
        lines.filter(|fields| fields.len() == 5).find(|fields| fits(fields)).and_then(|mut fields| fields.pop())
    }
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == ':' && fields.len() < 5 {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            field.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
    }
    fields
}

/// TLS by our own library.
pub(super) struct Tls(pub(super) Arc<rustls::ClientConfig>);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Secured;
    type TlsConnect = Securing;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Securing, Self::Error> {
        Ok(Securing(TlsConnector::from(Arc::clone(&self.0)), ServerName::try_from(domain)?.to_owned()))
    }
}

/// A handshake to come.
pub(super) struct Securing(TlsConnector, ServerName<'static>);

impl TlsConnect<Socket> for Securing {
    type Stream = Secured;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Secured>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let Self(connector, name) = self;
        Box::pin(async move { Ok(Secured(connector.connect(name, socket).await?)) })
    }
}

/// A connection after its handshake.
pub(super) struct Secured(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Target, TargetError> {
        Target::of(&DatabaseSettings { url: url.to_owned(), password_file: None, authority: None })
    }

    #[test]
    fn a_password_in_the_address_and_a_clear_line_to_elsewhere_are_refused() {
        assert!(matches!(of("postgres://ada:secret@localhost/fleet"), Err(TargetError::Password)));
        assert!(matches!(of("postgres://ada@db.example/fleet"), Err(TargetError::Clear)));
        assert!(matches!(of("postgres://ada@db.example/fleet?sslmode=require"), Err(TargetError::Clear)));
        assert_eq!(
            of("postgres://ada@db.example/fleet?sslmode=disable").unwrap().to_string(),
            "ada@db.example:5432/fleet"
        );
        assert!(of("postgres://ada@localhost:5433/fleet").is_ok());
        assert!(
            of("postgres://ada@%2Fvar%2Frun%2Fpostgresql/fleet").unwrap().to_string().contains("/var/run/postgresql")
        );
        for wrong in ["postgres://ada@localhost", "mysql://localhost/fleet", "postgres://h/d?sslmode=perhaps", ""] {
            assert!(matches!(of(wrong), Err(TargetError::Address(_))), "{wrong}");
        }
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let asks = Asks { host: "db", port: 5432, database: "fleet", user: "ada" };
        let lines = "# who\ndb:5432:other:ada:no\nshort\n*:*:fleet:a\\da:s:e\\\\c\\:ret\n*:*:*:*:later\n";
        assert_eq!(asks.password_in(lines).as_deref(), Some("s:e\\c:ret"));
        assert_eq!(asks.password_in("db:1:fleet:ada:no"), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_file_says_has_a_password_or_none(lines in ".{0,80}") {
            Asks { host: "db", port: 5432, database: "fleet", user: "ada" }.password_in(&lines);
        }
    }
}
