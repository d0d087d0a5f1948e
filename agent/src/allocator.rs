//! Memory that was let go, given back to the system: the C library keeps it for the next allocation otherwise.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    #[expect(unsafe_code, reason = "a call of the C library; see SAFETY")]
    // SAFETY: it takes no pointer, may be called from any thread at any time, and touches free blocks only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators give large blocks back by themselves, which pages of keys and values are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
