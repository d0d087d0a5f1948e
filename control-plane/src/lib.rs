//! The control plane: one small service that enrols devices, signs what they should run and keeps what they report.
