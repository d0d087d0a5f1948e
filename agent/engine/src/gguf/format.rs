//! The block formats of tensors: their numbers, names and sizes, as `ggml` defines them.

use candle_core::quantized::GgmlDType;

/// How a tensor's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the formats' own names")]
#[allow(non_camel_case_types, reason = "the names are the formats' own names")]
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// number in the file, format, name, weights per block, bytes per block
const TABLE: &[(u32, Format, &str, u64, u64)] = &[
    (0, Format::F32, "F32", 1, 4),
    (1, Format::F16, "F16", 1, 2),
    (2, Format::Q4_0, "Q4_0", 32, 18),
    (3, Format::Q4_1, "Q4_1", 32, 20),
    (6, Format::Q5_0, "Q5_0", 32, 22),
    (7, Format::Q5_1, "Q5_1", 32, 24),
    (8, Format::Q8_0, "Q8_0", 32, 34),
    (10, Format::Q2_K, "Q2_K", 256, 84),
    (11, Format::Q3_K, "Q3_K", 256, 110),
    (12, Format::Q4_K, "Q4_K", 256, 144),
    (13, Format::Q5_K, "Q5_K", 256, 176),
    (14, Format::Q6_K, "Q6_K", 256, 210),
    (30, Format::BF16, "BF16", 1, 2),
];

/// Formats that exist in the wild and are not read here: named so that the refusal says what it saw.
const FOREIGN: &[(u32, &str)] = &[
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "I2_S"),
    (39, "MXFP4"),
];

impl Format {
    /// The format with this number in a file.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.0 == id).map(|row| row.1)
    }

    /// The format with this name, as in `Q4_0`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2.eq_ignore_ascii_case(name)).map(|row| row.1)
    }

    /// Its number in a file.
    #[must_use]
    pub fn id(self) -> u32 {
        self.row().0
    }

    /// Its name, as in `Q4_0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Weights in one block.
    #[must_use]
    pub fn block_weights(self) -> u64 {
        self.row().3
    }

    /// Bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().4
    }

    /// Bytes of so many weights, or nothing when they do not fill whole blocks or the product overflows.
    #[must_use]
    pub fn bytes_for(self, weights: u64) -> Option<u64> {
        if !weights.is_multiple_of(self.block_weights()) {
            return None;
        }
        (weights / self.block_weights()).checked_mul(self.block_bytes())
    }

    pub(crate) fn foreign_name(id: u32) -> Option<&'static str> {
        FOREIGN.iter().find(|row| row.0 == id).map(|row| row.1)
    }

    pub(crate) fn candle(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::BF16 => GgmlDType::BF16,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q2_K => GgmlDType::Q2K,
            Self::Q3_K => GgmlDType::Q3K,
            Self::Q4_K => GgmlDType::Q4K,
            Self::Q5_K => GgmlDType::Q5K,
            Self::Q6_K => GgmlDType::Q6K,
        }
    }

    fn row(self) -> &'static (u32, Self, &'static str, u64, u64) {
        TABLE.iter().find(|row| row.1 == self).expect("every format has its row in the table")
    }
}
