//! DPDK's log, kept in memory so that errors can quote it; nothing goes to the terminal.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use dpdk_sys as sys;

/// Octets kept; the oldest go first. About 100 lines, more than any failing driver writes.
const LOG_OCTETS_MAX: usize = 8192;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// stdio's write callback.
///
/// # Safety
/// `text` must point to `len` octets.
unsafe extern "C" fn write(
    _cookie: *mut c_void,
    text: *const c_char,
    len: usize,
) -> sys::__ssize_t {
    // SAFETY: stdio passes `len` octets at `text`.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.extend_from_slice(text);
    let excess = log.len().saturating_sub(LOG_OCTETS_MAX);
    log.drain(..excess);
    sys::__ssize_t::try_from(len).unwrap_or(sys::__ssize_t::MAX)
}

/// Sends DPDK's log here. If that fails, DPDK's own choice stands: the terminal.
pub(crate) fn capture() {
    let callbacks = sys::cookie_io_functions_t {
        write: Some(write),
        ..Default::default()
    };
    // SAFETY: the mode is NUL-terminated, and `write` does not use the cookie.
    let stream = unsafe { sys::fopencookie(ptr::null_mut(), c"w".as_ptr(), callbacks) };
    if stream.is_null() {
        return;
    }
    // SAFETY: a fresh stream may be given a mode before its first use; 2 is _IONBF, so that
    // nothing waits in a buffer.
    unsafe { sys::setvbuf(stream, ptr::null_mut(), 2, 0) };
    // SAFETY: the stream is open and never closed.
    unsafe { sys::rte_openlog_stream(stream) };
}

/// Sends what the af_xdp driver's libraries would print on the terminal here too. The drivers must
/// have been loaded.
pub(crate) fn capture_libraries() {
    for (library, setter) in [
        (c"libbpf.so.1", c"libbpf_set_print"),
        (c"libbpf.so.0", c"libbpf_set_print"),
        (c"libxdp.so.1", c"libxdp_set_print"),
    ] {
        // SAFETY: both strings are NUL-terminated; a library that is not loaded is left alone, and
        // those that are have had this function with this type since their first release.
        unsafe { sys::weir_library_log(library.as_ptr(), setter.as_ptr()) };
    }
}

/// Takes what was logged since the last call.
pub(crate) fn take() -> String {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&std::mem::take(&mut *log)).into_owned()
}

/// The lines of `log` in one, most telling first: the cause is logged before its consequences.
pub(crate) fn one_line(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_one_line_in_the_order_of_events() {
        assert_eq!(one_line("a: b\n\n  c: d \n"), "a: b; c: d");
    }
}
