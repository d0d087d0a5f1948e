//! One way to find each class.

use std::sync::Arc;

use super::custom::Custom;
use super::view::{Before, View};
use super::{Class, card, email, iban, ip, national_id, phone, secret};

/// Finds one class.
#[derive(Clone)]
pub(super) enum Detector {
    PaymentCard,
    Email,
    Phone,
    Iban,
    NationalId,
    IpAddress,
    Secret,
    Custom(Arc<Custom>),
}

impl Detector {
    /// The detector of a class that needs no pattern.
    pub(super) fn built_in(class: &Class) -> Option<Self> {
        Some(match class {
            Class::PaymentCard => Self::PaymentCard,
            Class::Email => Self::Email,
            Class::Phone => Self::Phone,
            Class::Iban => Self::Iban,
            Class::NationalId => Self::NationalId,
            Class::IpAddress => Self::IpAddress,
            Class::Secret => Self::Secret,
            Class::Custom(_) => return None,
        })
    }

    /// How many bytes belong to one that begins exactly here.
    pub(super) fn length(&self, view: &View<'_>, before: Before) -> Option<usize> {
        match self {
            Self::PaymentCard => card::length(view, before),
            Self::Email => email::length(view, before),
            Self::Phone => phone::length(view, before),
            Self::Iban => iban::length(view, before),
            Self::NationalId => national_id::length(view, before),
            Self::IpAddress => ip::length(view, before),
            Self::Secret => secret::length(view, before),
            Self::Custom(custom) => custom.length(view, before),
        }
    }
}
