//! Controls and the evidence for them in this log: what it shows, and what it does not. Nothing here claims compliance.

use super::page::{Cell, Page, grouped, many, times};
use super::{Findings, integrity::Integrity};

/// One control.
struct Control {
    source: &'static str,
    what: &'static str,
    section: (&'static str, &'static str),
    state: fn(&Findings, &Integrity<'_>) -> String,
    not_shown: &'static str,
}

const CONTROLS: &[Control] = &[
    Control {
        source: "EU AI Act Art. 12(1), (2)",
        what: "Events are recorded automatically over the lifetime, to find risks and substantial changes",
        section: ("models", "Models"),
        state: |found, _| {
            format!(
                "{} records in the range; {}; {}",
                grouped(found.in_range),
                many(found.models.loads, "model load", "model loads"),
                many(found.policy.activations, "policy activation", "policy activations")
            )
        },
        not_shown: "Whether a change is substantial in the sense of the law is a judgement; whether this system is high-risk at all is another",
    },
    Control {
        source: "EU AI Act Art. 19(1), 26(6)",
        what: "Logs are kept for at least six months, by provider and deployer",
        section: ("retention", "Retention"),
        state: |found, _| reach(found, 183, "six months"),
        not_shown: "That it will be kept from now on; copies elsewhere",
    },
    Control {
        source: "ISO/IEC 42001 A.6.2.8, A.6.2.6",
        what: "Event logs are recorded while the system is in use; its operation is monitored",
        section: ("usage", "Use"),
        state: |found, _| {
            format!(
                "{} began, {} answered, {} refused, {} not finished",
                many(found.usage.started, "request", "requests"),
                grouped(found.usage.whole.answered),
                grouped(found.usage.whole.refused),
                grouped(found.usage.whole.aborted)
            )
        },
        not_shown: "That somebody looks at it; the management system around it",
    },
    Control {
        source: "NIST SP 800-53 AU-2, AU-3, AU-12",
        what: "Each event says what, when, where, from whom, with which outcome",
        section: ("usage", "Use"),
        state: |found, _| {
            format!(
                "{} in the range name who acted; {} of the whole log could not be read",
                many(found.with_who, "record", "records"),
                many(found.unreadable, "record", "records")
            )
        },
        not_shown: "That every event of the device has a record: that is tested with the program, not read from a log",
    },
    Control {
        source: "NIST AU-4, AU-5; IEC 62443-3-3 SR 2.9, 2.10; PCI DSS 10.7",
        what: "Room for the log, and what happens when recording fails",
        section: ("reading", "Audit of the audit"),
        state: |found, _| {
            format!(
                "{}; {} ended without a shutdown",
                many(found.reading.capacity, "record about room", "records about room"),
                many(found.uptime.unclean_ends, "run", "runs")
            )
        },
        not_shown: "A refusal to answer for want of a record cannot itself be in the log",
    },
    Control {
        source: "NIST AU-6, AU-7; PCI DSS 10.4",
        what: "The log is reviewed and can be reduced to reports without changing it",
        section: ("reading", "Audit of the audit"),
        state: |found, _| {
            format!(
                "{} on record, {} refused",
                many(found.reading.reads, "reading", "readings"),
                grouped(found.reading.refused)
            )
        },
        not_shown: "What the readers concluded",
    },
    Control {
        source: "NIST AU-8; IEC 62443-3-3 SR 2.11; PCI DSS 10.6",
        what: "Time stamps, and how far to trust them",
        section: ("uptime", "Offline periods"),
        state: |found, integrity| {
            format!(
                "{} with a clock not believed; the clock {} went back; {}",
                many(found.uptime.untrusted, "record", "records"),
                times(found.uptime.steps_back),
                if integrity.witnesses.are_none() {
                    "no outside time brackets it"
                } else {
                    "cosignatures bracket it by other clocks"
                }
            )
        },
        not_shown: "How the clock of the machine is set",
    },
    Control {
        source: "NIST AU-9, AU-9(2), AU-9(3), AU-10; IEC 62443-3-3 SR 2.12, 3.9; PCI DSS 10.3; HIPAA 164.312(c)",
        what: "The log is protected from change, by signatures and copies elsewhere",
        section: ("integrity", "Integrity"),
        state: |_, integrity| {
            format!(
                "{}; {} verified; {}",
                if integrity.is_good() { "the log verifies" } else { "the log does NOT verify" },
                many(integrity.verified.checkpoints as u64, "signed head", "signed heads"),
                cosigned(integrity)
            )
        },
        not_shown: "That the device's key is safe; that a copy elsewhere exists, unless a witness says so",
    },
    Control {
        source: "NIST AU-11; PCI DSS 10.5.1",
        what: "Records are kept as long as required: PCI DSS asks for twelve months, three of them at hand",
        section: ("retention", "Retention"),
        state: |found, _| reach(found, 365, "twelve months"),
        not_shown: "Which period your organisation has set",
    },
    Control {
        source: "SOC 2 CC6.1 to CC6.3; PCI DSS 10.2; IEC 62443-3-3 SR 1.1, 2.1, 2.8",
        what: "Access is given by role, used by identified people, refused otherwise, and recorded",
        section: ("access", "Access review"),
        state: |found, _| {
            format!(
                "{}; {} without an identity; {}",
                many(found.denials.refused, "refusal", "refusals"),
                many(found.denials.knocks, "attempt", "attempts"),
                found.access.sentence().trim_end_matches('.')
            )
        },
        not_shown: "Who may do what without having done it: see the policy review",
    },
    Control {
        source: "SOC 2 CC6.8; NIST SI-7",
        what: "Only known software and models run, by digest",
        section: ("models", "Models"),
        state: |found, _| {
            format!(
                "{} by digest; {}; {} without a digest",
                if found.models.is_empty() {
                    "no model file".to_owned()
                } else {
                    format!("model files: {}", found.models.how_many())
                },
                many(found.models.rejects, "file refused", "files refused"),
                many(found.models.without_digest, "answer", "answers")
            )
        },
        not_shown: "That a digest is one of an approved file: compare with your list",
    },
    Control {
        source: "SOC 2 CC7.1 to CC7.4",
        what: "Anomalies are noticed and acted upon",
        section: ("denials", "Denials"),
        state: |found, _| {
            format!(
                "{}, {} without an identity, {}, {}",
                many(found.denials.refused, "refusal", "refusals"),
                many(found.denials.knocks, "attempt", "attempts"),
                many(found.uptime.unclean_ends, "unclean end", "unclean ends"),
                many(found.acts.overrides_opened, "override", "overrides")
            )
        },
        not_shown: "What was done about them",
    },
    Control {
        source: "SOC 2 CC8.1; NIST CM-3; ISO/IEC 42001 A.6.2.4",
        what: "Changes of the rules are approved before they count",
        section: ("policy", "Policy history"),
        state: |found, _| {
            format!(
                "{}, {} of them with named approvers; {} refused",
                many(found.policy.activations, "activation", "activations"),
                grouped(found.policy.approved),
                many(found.policy.refusals, "bundle", "bundles")
            )
        },
        not_shown: "What was discussed; that a bundle without named approvers needed none",
    },
    Control {
        source: "GDPR Art. 5(1)(c), 25",
        what: "As little personal data as possible",
        section: ("retention", "Retention"),
        state: |found, _| {
            format!(
                "pseudonyms in the place of names; content sealed with {} of {}",
                grouped(found.retention.sealed),
                many(found.in_range, "record", "records")
            )
        },
        not_shown: "A pseudonym is personal data still, for whoever holds the secret",
    },
    Control {
        source: "GDPR Art. 17, 5(1)(e)",
        what: "Content is erased on request and when its time is over, and that is on record",
        section: ("retention", "Retention"),
        state: |found, _| {
            format!(
                "{}, {}. {}",
                many(found.retention.erasures, "erasure", "erasures"),
                many(found.retention.prunings, "pruning", "prunings"),
                found.retention.agreement()
            )
        },
        not_shown: "Copies outside the device; whether every request was met",
    },
    Control {
        source: "GDPR Art. 30, 32",
        what: "Processing is recorded, and secured",
        section: ("access", "Access review"),
        state: |found, _| {
            format!(
                "principals who asked models: {}; {}",
                found.usage.principals.how_many(),
                many(found.acts.done, "privileged action done", "privileged actions done")
            )
        },
        not_shown: "The purposes: they are in your record of processing, not in a log",
    },
    Control {
        source: "IEC 62443-3-3 SR 6.1, 6.2",
        what: "The log can be read by those who may, and the system is monitored",
        section: ("reading", "Audit of the audit"),
        state: |found, _| format!("{} on record", many(found.reading.reads, "reading", "readings")),
        not_shown: "Monitoring outside the device",
    },
    Control {
        source: "NIST AC-2(13), CP-12; SOC 2 CC6.1",
        what: "Emergencies: overrides are sealed beforehand, limited and on record",
        section: ("acts", "Privileged actions"),
        state: |found, _| many(found.acts.overrides_opened, "override opened", "overrides opened"),
        not_shown: "Whether the emergency was one",
    },
];

/// How far the log reaches back against a period.
fn reach(found: &Findings, days: i64, period: &str) -> String {
    let reaches = found.retention.days();
    let compared = if reaches >= days { "at least" } else { "less than" };
    format!("the log reaches back {}: {compared} {period}", many(u64::try_from(reaches).unwrap_or(0), "day", "days"))
}

fn cosigned(integrity: &Integrity<'_>) -> String {
    match (integrity.witnesses.are_none(), integrity.witnesses.verified()) {
        (true, _) => "no witness has cosigned it".to_owned(),
        (false, 0) => "witnesses have cosigned it, and no key of theirs was brought to check that".to_owned(),
        (false, count) => format!("cosigned by {}, checked", many(count as u64, "witness", "witnesses")),
    }
}

/// Writes the matrix.
pub(super) fn write(page: &mut Page, found: &Findings, integrity: &Integrity<'_>) {
    page.paragraph(
        "Each row names a control in one line, where its evidence is in this report, what was measured in this log, and what \
         the log cannot show. The rows are a guide for the reader. They do not say that a control is met: that is for the \
         auditor to judge, with the text of the standard at hand.",
    );
    if !integrity.is_good() {
        page.element(
            "p",
            &[("class", &"bad")],
            "The log does not verify: as evidence, everything measured here is open to doubt.",
        );
    }
    let rows = CONTROLS.iter().map(|control| {
        vec![
            Cell::Head(control.source.to_owned()),
            Cell::Text(control.what.to_owned()),
            Cell::Link(control.section.0, control.section.1),
            Cell::Text((control.state)(found, integrity)),
            Cell::Text(control.not_shown.to_owned()),
        ]
    });
    page.table(
        "Controls and the evidence for them",
        &["Control", "In one line", "Evidence", "Measured in this log", "What the log does not show"],
        rows.collect(),
        "",
    );
}
