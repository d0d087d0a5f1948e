//! What a supervisor such as systemd is told of a program (that it is ready, well, stopping), and the socket that it hands to one.
//!
//! Both are systemd's protocols ([`sd_notify`], [`sd_listen_fds`]), which other supervisors speak too. Without a supervisor
//! everything here does nothing.
//!
//! [`sd_notify`]: https://www.freedesktop.org/software/systemd/man/sd_notify.html
//! [`sd_listen_fds`]: https://www.freedesktop.org/software/systemd/man/sd_listen_fds.html

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Where the supervisor listens, if there is one.
const PLACE: &str = "NOTIFY_SOCKET";

/// How often a supervisor that insists on nothing is told that the program works.
const UNASKED: Duration = Duration::from_secs(3600);

/// Whoever started this program and starts it again when it ends; or nobody.
#[derive(Debug, Clone, Copy)]
pub struct Supervisor {
    is_present: bool,
    patience: Option<Duration>,
}

impl Supervisor {
    /// Whom the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        let is_present = std::env::var_os(PLACE).is_some();
        Self { is_present, patience: sd_notify::watchdog_enabled().filter(|_| is_present) }
    }

    /// Whether somebody is told anything, and starts this program again.
    #[must_use]
    pub fn is_present(self) -> bool {
        self.is_present
    }

    /// How often [`Supervisor::well`] is to be said: twice as often as the supervisor insists on.
    #[must_use]
    pub fn heartbeat(self) -> Duration {
        self.patience.map_or(UNASKED, |patience| patience / 2)
    }

    /// The program does its work from now on; `what` in a few words for whoever looks.
    pub fn ready(self, what: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(what)]);
    }

    /// The program works still.
    pub fn well(self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The program ends what it began, and takes nothing new.
    pub fn stopping(self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// A supervisor that hears nothing acts on its own: what it does then should not surprise whoever reads the log.
    fn tell(self, state: &[NotifyState<'_>]) {
        if self.is_present
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::warn!(%error, "the supervisor cannot be told how this program is");
        }
    }
}

/// The Unix socket that the supervisor opened before it started this program: callers wait in it while no program runs. To be
/// asked once, while no other thread is at work, since it takes the words for it out of the environment.
///
/// # Errors
/// If what was handed over is no listening Unix socket, or more than one.
pub fn handed_socket() -> io::Result<Option<UnixListener>> {
    let mut handed = ListenFd::from_env();
    if handed.len() > 1 {
        let many = format!("{} sockets were handed over; one is taken, for the local API", handed.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, many));
    }
    let socket = handed.take_unix_listener(0)?;
    if let Some(socket) = &socket {
        socket.set_nonblocking(true)?;
    }
    Ok(socket)
}
