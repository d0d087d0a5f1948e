//! The time that a build on trial has, kept by the kernel: a program that hangs before it does anything is ended, too.
//!
//! An alarm lives on when a process becomes another program, and ends it unless it is taken back.

/// Ends this process after so many seconds, whatever program it is by then; 0 takes that back.
pub(crate) fn arm(seconds: u32) {
    #[expect(unsafe_code, reason = "a call of the C library; see SAFETY")]
    // SAFETY: it takes a number and sets a timer of this process; no memory is involved.
    unsafe {
        libc::alarm(seconds);
    }
}

/// Takes the alarm back.
pub(crate) fn disarm() {
    arm(0);
}
