//! Who may do what: Cedar schema, strict evaluation, lint and cases.
