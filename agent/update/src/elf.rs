//! The first bytes of a program: for which processors it is.
//!
//! ```text
//! 0..4 7f 45 4c 46   4 class (1: 32 bits, 2: 64)   5 order (1: little-endian)   16..18 kind   18..20 machine
//! ```

use crate::Refused;

/// As many bytes as are looked at.
pub(crate) const HEADER_BYTES: usize = 20;

const MAGIC: &[u8] = b"\x7fELF";
const LITTLE_ENDIAN: u8 = 1;
/// A program at a fixed place, or one that may lie anywhere.
const PROGRAMS: [u16; 2] = [2, 3];

/// Holds the first bytes of a program to the processor of this box, named as Rust does.
pub(crate) fn check(header: &[u8], own: &str) -> Result<(), Refused> {
    let no_program = |because: &str| Refused::NoProgram { because: because.to_owned() };
    let Some(header) = header.first_chunk::<HEADER_BYTES>() else {
        return Err(no_program("it is shorter than a program's header"));
    };
    if !header.starts_with(MAGIC) {
        return Err(no_program("it does not begin as an ELF file does"));
    }
    let is_little = header[5] == LITTLE_ENDIAN;
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1]];
        if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    };
    let found = architecture(header[4], is_little, number(18));
    if found != own {
        return Err(Refused::WrongArchitecture { found, own: own.to_owned() });
    }
    if !PROGRAMS.contains(&number(16)) {
        return Err(no_program("it is an object file, which nobody linked"));
    }
    Ok(())
}

/// What a class, an order and a machine number mean, in Rust's words where it has one.
fn architecture(class: u8, is_little: bool, machine: u16) -> String {
    let known = match (class, is_little, machine) {
        (2, true, 62) => "x86_64",
        (2, true, 183) => "aarch64",
        (1, true, 40) => "arm",
        (1, true, 3) => "x86",
        (2, true, 243) => "riscv64",
        (1, true, 243) => "riscv32",
        (2, true, 258) => "loongarch64",
        (2, true, 21) => "powerpc64",
        (2, false, 22) => "s390x",
        _ => {
            let bits = if class == 1 { 32 } else { 64 };
            let order = if is_little { "little" } else { "big" };
            return format!("a {bits}-bit {order}-endian processor (machine {machine})");
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(class: u8, machine: u16) -> Vec<u8> {
        let mut header = [b"\x7fELF".as_slice(), &[class, 1, 1], &[0; 9], &[3, 0]].concat();
        header.extend(machine.to_le_bytes());
        header
    }

    #[test]
    fn a_program_for_this_processor_passes_and_one_for_another_is_named() {
        check(&header(2, 183), "aarch64").unwrap();
        let error = check(&header(2, 183), "x86_64").unwrap_err();
        assert_eq!(error.to_string(), "wrong architecture: this build is for aarch64, this box is x86_64");
        assert_eq!(error.code(), "wrong_architecture");
        assert!(check(&header(1, 40), "aarch64").unwrap_err().to_string().contains("is for arm,"));
        assert!(check(&header(2, 9), "aarch64").unwrap_err().to_string().contains("machine 9"));
    }

    #[test]
    fn the_running_test_is_a_program_for_its_own_processor() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        check(&own, std::env::consts::ARCH).unwrap();
    }

    #[test]
    fn what_is_no_program_is_refused_with_the_reason() {
        for (bytes, word) in [(&b"#!/bin/sh\nexit 0\n\n\n\n"[..], "ELF"), (b"\x7fELF", "shorter"), (b"", "shorter")] {
            let error = check(bytes, "x86_64").unwrap_err();
            assert!(error.code() == "no_program" && error.to_string().contains(word), "{error}");
        }
        let mut object = header(2, 62);
        object[16] = 1;
        assert!(check(&object, "x86_64").unwrap_err().to_string().contains("object file"));
    }

    proptest! {
        #[test]
        fn any_bytes_pass_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), class in 0_u8..4, machine: u16) {
            let _ = check(&bytes, "x86_64");
            prop_assert_eq!(check(&header(class, machine), "x86_64").is_ok(), (class, machine) == (2, 62));
        }
    }
}
