//! What can be asked about a device: one table of names, kinds and words.

/// How a field is compared and how its values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `=` and `!=`, with `*` for anything.
    Text,
    /// `=` and `!=`: one of several names, exactly.
    Name,
    /// Text of which a device may have several.
    Set,
    /// Bytes: `8GiB`, `500MB`.
    Bytes,
    /// A whole number.
    Count,
    /// A number with up to three decimals.
    Decimal,
    /// A length of time: `30d`, `12h`, `5m`, `10s`.
    Duration,
    /// `0.3`, `1.2.0`, `1.0.0-rc1`.
    Version,
    /// `true` and `false`; alone it means `true`.
    Flag,
}

macro_rules! fields {
    ($($variant:ident $name:literal $kind:ident $doc:literal,)*) => {
        /// What can be asked about a device, beside its labels (`label.KEY`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $doc] $variant,)*
        }

        impl Field {
            /// Every field.
            pub const EVERY: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How it is compared.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// What it is, in words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

fields! {
    Name "name" Text "The device's name.",
    Site "site" Text "The site that it is at.",
    Group "group" Name "A group that it is in.",
    State "state" Text "How far it is from what it should run: `in-step`, `pending`, `refused`, `behind` and so on.",
    Model "model" Text "The model that serves on it.",
    Variant "variant" Text "The catalogue target that serves on it.",
    Wanted "wanted" Text "The model that it is assigned.",
    Cpu "cpu" Text "Its processor, as it names it.",
    Feature "feature" Set "A processor feature that its kernels use.",
    Reason "reason" Set "A reason why something wanted is not in force, as in `does_not_fit`.",
    Agent "agent" Version "The agent's version.",
    Memory "memory" Bytes "Memory of the machine.",
    MemoryAvailable "memory-available" Bytes "Memory that could be had when it was measured.",
    Disk "disk" Bytes "Free room where models are kept.",
    Cores "cores" Count "Processor cores.",
    Context "context" Count "Context in force, tokens.",
    Policy "policy" Count "Version of the policy bundle in force.",
    Backlog "backlog" Count "Messages that wait to be stored by the control plane.",
    DeadLetters "dead-letters" Count "Messages that were given up for good.",
    Speed "speed" Decimal "Tokens per second of the last self-test.",
    Seen "seen" Duration "How long ago it was last heard of.",
    Enrolled "enrolled" Duration "How long ago it enrolled.",
    Certificate "certificate" Duration "How long its certificate still counts.",
    Online "online" Flag "Connected now.",
    Revoked "revoked" Flag "Let in no longer.",
    Assigned "assigned" Flag "Told what to run.",
    Drift "drift" Flag "Not in step with what it should run.",
    Measured "measured" Flag "It has said what its machine can give.",
}

impl Field {
    /// The field of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::EVERY.iter().copied().find(|field| field.name() == name)
    }
}
