//! Several hosts on one machine: network namespaces behind one switch, whose cables can be pulled out and narrowed, and behind
//! a second one, at the far end of one line that they share.
//!
//! Needs root, as every rearrangement of networks does. A cable that is pulled out is silence, not a closed connection: that
//! is what a program has to notice by itself.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Switches so far in this process.
static SWITCHES: AtomicU32 = AtomicU32::new(0);

/// A switch, and the hosts around it. Dropping it takes all of them away.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: u8,
    /// Where the next host is plugged in.
    bridge: &'static str,
}

/// One host: a namespace with one address.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    switch: String,
    port: String,
    address: Ipv4Addr,
}

impl Network {
    /// A switch without hosts.
    ///
    /// # Errors
    /// If this machine or this account cannot make network namespaces.
    pub fn new() -> Result<Self> {
        let name = format!("op{}-{}", std::process::id(), SWITCHES.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]).context("network namespaces need root and the package `iproute2`")?;
        let network = Self { name, hosts: 0, bridge: "switch" };
        network.at_switch(&["link", "add", "switch", "type", "bridge"])?;
        network.at_switch(&["link", "set", "switch", "up"])?;
        Ok(network)
    }

    /// One more host, plugged in; its address is the next of 10.77.0.0/24.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn host(&mut self) -> Result<Host> {
        self.hosts = self.hosts.checked_add(1).context("more hosts than addresses")?;
        let number = self.hosts;
        let host = Host {
            namespace: format!("{}-{number}", self.name),
            switch: self.name.clone(),
            port: format!("port{number}"),
            address: Ipv4Addr::new(10, 77, 0, number),
        };
        ip(&["netns", "add", &host.namespace])?;
        ip(&[
            "link",
            "add",
            "eth0",
            "netns",
            &host.namespace,
            "type",
            "veth",
            "peer",
            "name",
            &host.port,
            "netns",
            &self.name,
        ])?;
        self.at_switch(&["link", "set", &host.port, "master", self.bridge, "up"])?;
        host.ip(&["addr", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        host.ip(&["link", "set", "eth0", "up"])?;
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Lays one line to a second switch, where every host from now on is plugged in: so many kilobits per second go to them, all
    /// together, and so many bytes wait in front of it before any is lost.
    ///
    /// # Errors
    /// If it was laid already, or the kernel cannot shape traffic.
    pub fn lay_line(&mut self, kilobits: u32, queue_bytes: u32) -> Result<()> {
        ensure!(self.bridge == "switch", "there is one line");
        self.at_switch(&["link", "add", "far", "type", "bridge"])?;
        self.at_switch(&["link", "set", "far", "up"])?;
        self.at_switch(&["link", "add", "near-end", "type", "veth", "peer", "name", "far-end"])?;
        self.at_switch(&["link", "set", "near-end", "master", "switch", "up"])?;
        self.at_switch(&["link", "set", "far-end", "master", "far", "up"])?;
        let (rate, limit) = (format!("{kilobits}kbit"), queue_bytes.to_string());
        let shape =
            ["qdisc", "replace", "dev", "near-end", "root", "tbf", "rate", &rate, "burst", "64kb", "limit", &limit];
        run("tc", &[&["-n", self.name.as_str()], shape.as_slice()].concat())?;
        self.bridge = "far";
        Ok(())
    }

    fn at_switch(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=self.hosts {
            // Whatever is left goes with the machine.
            let _ = ip(&["netns", "del", &format!("{}-{number}", self.name)]);
        }
        let _ = ip(&["netns", "del", &self.name]);
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command that will run on this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program).stdin(Stdio::null());
        command
    }

    /// Starts a program on this host; what it says goes nowhere.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("cannot start a program on {}", self.address))
    }

    /// Pulls its cable out: what is sent vanishes, in both directions.
    ///
    /// # Errors
    /// If there is no such cable.
    pub fn unplug(&self) -> Result<()> {
        ip(&["-n", &self.switch, "link", "set", &self.port, "down"])
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// If there is no such cable.
    pub fn plug_in(&self) -> Result<()> {
        ip(&["-n", &self.switch, "link", "set", &self.port, "up"])
    }

    /// Lets no more than this through to the host, kilobits per second.
    ///
    /// # Errors
    /// If the kernel cannot shape traffic.
    pub fn narrow(&self, kilobits: u32) -> Result<()> {
        let rate = format!("{kilobits}kbit");
        let shape =
            ["qdisc", "replace", "dev", &self.port, "root", "tbf", "rate", &rate, "burst", "64kb", "latency", "400ms"];
        run("tc", &[&["-n", self.switch.as_str()], shape.as_slice()].concat())
    }

    /// Bytes that came to it over its cable since it was made.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn received(&self) -> Result<u64> {
        let output = self.command("cat").arg("/sys/class/net/eth0/statistics/rx_bytes").output()?;
        let said = String::from_utf8(output.stdout)?;
        said.trim().parse().with_context(|| format!("what came to {} is not told: {said}", self.address))
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.namespace], arguments].concat())
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run `{program}`; install the package `iproute2`"))?;
    ensure!(
        output.status.success(),
        "`{program} {}`: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Waits for a child without blocking the runtime, and gives its exit code.
///
/// # Errors
/// If it does not end in time; it is killed then.
pub async fn ended(child: &mut Child, patience: std::time::Duration) -> Result<i32> {
    let began = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or(-1));
        }
        if began.elapsed() > patience {
            child.kill().ok();
            child.wait().ok();
            bail!("a program did not end within {} s", patience.as_secs());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
