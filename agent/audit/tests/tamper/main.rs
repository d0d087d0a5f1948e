//! Somebody tampers with a log: flips a byte, deletes, moves or doubles a record, cuts the tail, puts back an old image. All of
//! it must show, and the record must be named where that is possible.
//!
//! Two logs, each as the directory that a device keeps and as exports:
//!
//! * a small one, of which **every byte of every file is flipped in turn**, one at a time, the pages of the database that
//!   hold no record among them;
//! * one of 10,000 records. There, every byte of every leaf, hash and note is flipped too. Because a report names each record
//!   that is wrong, one verification judges hundreds of flips at once, each in another record, and each must be named;
//!   what is not about one record is flipped one at a time.
//!
//! Every verdict is that of the public [`verify_any`](outpost_audit::verify::verify_any) over real files. The short form
//! samples; the whole campaign is `OUTPOST_TAMPER=all cargo test -p outpost-audit --test tamper`. A place that was missed is
//! tried again by its number: `OUTPOST_TAMPER=12292 cargo test -p outpost-audit --test tamper every_byte_of_the_database`.

mod bytes;
mod every_byte;
mod records;
mod rollback;
mod subject;
mod tail;
mod trial;

/// The places to try, of so many: all, one by its number, or some.
fn places(all: usize, short: usize) -> Vec<usize> {
    match std::env::var("OUTPOST_TAMPER") {
        Ok(form) if form == "all" => (0..all).collect(),
        Ok(place) => vec![place.parse().expect("`all` or a place")],
        Err(_) if all <= short => (0..all).collect(),
        Err(_) => (0..short).map(|_| random(all)).collect(),
    }
}

/// A number below another.
fn random(below: usize) -> usize {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    usize::try_from(u64::from_ne_bytes(bytes) % below.max(1) as u64).unwrap()
}

/// A figure of the campaign, for whoever asked for it.
#[expect(clippy::print_stderr, reason = "the figures that the campaign is for")]
fn say(line: &str) {
    eprintln!("{line}");
}
