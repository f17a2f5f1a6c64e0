//! Rules for the system calls of the running thread and those it starts, kept by the kernel.

use std::ffi::{c_long, c_ulong};

/// What the kernel does with a system call.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    Allow,
    /// The process dies at once, of `SIGSYS`.
    Kill,
    /// The call fails with this error number and does nothing.
    Fail(u16),
}

impl Verdict {
    const fn code(self) -> u32 {
        match self {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            Verdict::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        }
    }
}

/// From here on this thread, and every thread that it starts, gets for each call the verdict of its
/// number in `exceptions`, and `otherwise` for every other. There is no way back.
pub fn restrict(otherwise: Verdict, exceptions: &[(c_long, Verdict)]) {
    const fn statement(
        code: u32,
        jump_if_true: u8,
        jump_if_false: u8,
        k: u32,
    ) -> libc::sock_filter {
        #[expect(clippy::cast_possible_truncation, reason = "the codes have 16 bits")]
        libc::sock_filter { code: code as u16, jt: jump_if_true, jf: jump_if_false, k }
    }
    // The number of the call is the first field of `seccomp_data`.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (number, verdict) in exceptions {
        let number = u32::try_from(*number).unwrap();
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number));
        program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, verdict.code()));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, otherwise.code()));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    const YES: c_ulong = 1;
    const NO: c_ulong = 0;
    // SAFETY: the call takes four plain numbers.
    let outcome = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, YES, NO, NO, NO) };
    assert_eq!(outcome, 0, "PR_SET_NO_NEW_PRIVS: {}", std::io::Error::last_os_error());
    // SAFETY: `filter` and the program that it points to live across the call, which copies them.
    let outcome = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const filter,
        )
    };
    assert_eq!(outcome, 0, "PR_SET_SECCOMP: {}", std::io::Error::last_os_error());
}

/// Ends the process with a status, by one system call and without a destructor.
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: the call takes a number and ends the process.
    unsafe { libc::_exit(status) }
}
