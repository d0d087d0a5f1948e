//! Traces of answers on their way to an OpenTelemetry collector: OTLP over HTTP, in JSON, in batches. Off unless configured.
//!
//! Nobody waits for the collector: what comes while the channel is full is dropped and counted where it was measured, and
//! a batch that cannot be delivered is gone.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use outpost_disk::Clock;
use outpost_serve::Trace;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Traces that wait to be sent.
const WAITING: usize = 1024;

/// Traces in one message.
const BATCH: usize = 128;

/// How long a trace waits for others to be sent with.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The usual port of OTLP over HTTP.
const PORT: u16 = 4318;

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    host: String,
    port: u16,
    path: String,
}

impl Collector {
    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn parse(endpoint: &str) -> Result<Self> {
        let advice = "write `http://host:port`; to send over TLS, let a collector on this machine pass traces on";
        let uri: Uri =
            endpoint.parse().with_context(|| format!("`telemetry.otlp_endpoint` is `{endpoint}`: {advice}"))?;
        let (Some("http"), Some(host), None) = (uri.scheme_str(), uri.host(), uri.query()) else {
            bail!("`telemetry.otlp_endpoint` is `{endpoint}`: {advice}");
        };
        let path = format!("{}/v1/traces", uri.path().trim_end_matches('/'));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(PORT), path })
    }

    async fn send(&self, body: String) -> Result<()> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("cannot connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&self.path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await;
        // What the collector has to say beyond its status is not read.
        connection.abort();
        let status = response?.status();
        if !status.is_success() {
            bail!("it answered {status}");
        }
        Ok(())
    }
}

/// Sends what comes through the receiver until it closes or the agent stops; gives the channel's other end as well.
pub(crate) fn start(
    collector: Collector,
    device: String,
    clock: Clock,
    stop: CancellationToken,
) -> (mpsc::Sender<Trace>, tokio::task::JoinHandle<()>) {
    let (sender, traces) = mpsc::channel(WAITING);
    (sender, tokio::spawn(run(collector, device, clock, traces, stop)))
}

async fn run(
    collector: Collector,
    device: String,
    clock: Clock,
    mut traces: mpsc::Receiver<Trace>,
    stop: CancellationToken,
) {
    let mut reachable = true;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            () = stop.cancelled() => return,
            count = traces.recv_many(&mut batch, BATCH) => if count == 0 { return },
        }
        let body = Trace::to_otlp(&batch, &device, env!("CARGO_PKG_VERSION"), clock.now_ms()).to_string();
        let sent = tokio::time::timeout(PATIENCE, collector.send(body)).await;
        let outcome = sent.unwrap_or_else(|_| Err(anyhow::anyhow!("it took too long")));
        match (&outcome, reachable) {
            (Ok(()), false) => tracing::info!("the trace collector takes traces again"),
            // Said once, not for every batch.
            (Err(error), true) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    traces = batch.len(),
                    "traces could not be delivered and are lost"
                );
            }
            _ => {}
        }
        reachable = outcome.is_ok();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_an_http_address() {
        let collector = |host: &str, port, path: &str| Collector { host: host.into(), port, path: path.into() };
        assert_eq!(Collector::parse("http://127.0.0.1:4318").unwrap(), collector("127.0.0.1", 4318, "/v1/traces"));
        assert_eq!(Collector::parse("http://[::1]/otlp/").unwrap(), collector("::1", 4318, "/otlp/v1/traces"));
        for wrong in ["https://collector", "collector:4318", "http://", "http://c/?key=1", ""] {
            let error = format!("{:#}", Collector::parse(wrong).unwrap_err());
            assert!(error.contains("telemetry.otlp_endpoint"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_batch_is_posted_and_a_refusal_is_an_error() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let mut heard = Vec::new();
            for status in ["200 OK", "503 Service Unavailable"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.ends_with("{\"batch\":1}") {
                    let mut bytes = [0; 1024];
                    let count = stream.read(&mut bytes).await.unwrap();
                    request.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                }
                stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
                heard.push(request);
            }
            heard
        };
        let collector = Collector::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let send = async {
            collector.send("{\"batch\":1}".into()).await.unwrap();
            collector.send("{\"batch\":1}".into()).await.unwrap_err().to_string()
        };
        let (heard, refused) = tokio::join!(serve, send);
        assert!(
            heard[0].starts_with("POST /v1/traces HTTP/1.1\r\n") && heard[0].contains("application/json"),
            "{}",
            heard[0]
        );
        assert!(refused.contains("503"), "{refused}");
    }
}
