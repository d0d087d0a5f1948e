//! What the kernel keeps for this process whatever program it becomes: the time that a build on trial has.

#![expect(unsafe_code, reason = "calls of the C library; see each SAFETY")]

/// Ends this process after so many seconds, even if it hangs before it does anything: an alarm lives on when a process becomes
/// another program. 0 takes that back.
pub(crate) fn arm(seconds: u32) {
    // SAFETY: it takes a number and sets a timer of this process; no memory is involved.
    unsafe {
        libc::alarm(seconds);
    }
}

/// Takes the alarm back.
pub(crate) fn disarm() {
    arm(0);
}

/// Has a broken pipe be an error again and not the end, as every Rust program begins: trying to become another program undid it.
pub(crate) fn outlive_broken_pipes() {
    // SAFETY: it names a signal and how the kernel treats it; no handler of ours is run.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}
