//! A progress bar on a terminal, for what takes longer than two seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes less than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the bar is drawn again.
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of the bar.
const CELLS: u64 = 30;

/// A bar on standard error; nothing at all where that is no terminal. It wipes itself away when dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    began: Instant,
    drawn: Option<Instant>,
    is_terminal: bool,
}

impl Bar {
    /// A bar that counts such things.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, began: Instant::now(), drawn: None, is_terminal: std::io::stderr().is_terminal() }
    }

    /// So many of so many are done.
    pub(crate) fn at(&mut self, done: u64, total: u64) {
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if !self.is_terminal || self.began.elapsed() < PATIENCE || !is_due {
            return;
        }
        self.drawn = Some(Instant::now());
        self.draw(&line(self.what, done, total, self.began.elapsed()));
    }

    /// Makes room for a line of something else; the bar comes back below it.
    pub(crate) fn wipe(&mut self) {
        if self.drawn.take().is_some() {
            self.draw("");
        }
    }

    fn draw(&self, line: &str) {
        let mut terminal = std::io::stderr().lock();
        // A bar that cannot be drawn is no reason to stop the work.
        write!(terminal, "\r\x1b[2K{line}").and_then(|()| terminal.flush()).ok();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let done = done.min(total);
    let full = done.saturating_mul(CELLS).checked_div(total).unwrap_or(0);
    let cells: String = (0..CELLS).map(|cell| if cell < full { '█' } else { '░' }).collect();
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
    let left = match elapsed.as_secs().saturating_mul(total - done).checked_div(done) {
        Some(seconds) => format!(", {}:{:02} left", seconds / 60, seconds % 60),
        None => String::new(),
    };
    format!("{cells} {percent:>3} %  {done} of {total} {what}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_done_and_how_long_it_still_takes() {
        let line = line("windows", 5, 20, Duration::from_secs(30));
        assert_eq!(line, "███████░░░░░░░░░░░░░░░░░░░░░░░  25 %  5 of 20 windows, 1:30 left");
    }

    #[test]
    fn nothing_done_and_nothing_to_do_are_drawn_too() {
        assert!(line("bytes", 0, 10, Duration::ZERO).ends_with("  0 %  0 of 10 bytes"));
        assert!(line("bytes", 0, 0, Duration::ZERO).contains("0 of 0"));
    }
}
