//! The block formats of tensors: their numbers, names and sizes, as `ggml` defines them.

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
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    /// Ternary weights of BitNet's own fork; the one format with a scale per tensor instead of per block.
    I2_S,
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
    (20, Format::IQ4_NL, "IQ4_NL", 32, 18),
    (23, Format::IQ4_XS, "IQ4_XS", 256, 136),
    (30, Format::BF16, "BF16", 1, 2),
    (34, Format::TQ1_0, "TQ1_0", 256, 54),
    (35, Format::TQ2_0, "TQ2_0", 256, 66),
    (36, Format::I2_S, "I2_S", 128, 32),
];

/// Formats that exist in the wild and are not read here: named so that the refusal says what it saw.
const FOREIGN: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4, or I2_S of a family that is not BitNet"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The spellings of BitNet's architecture: only its files may hold I2_S, whose number means something else elsewhere.
const BITNET: &[&str] = &["bitnet", "bitnet-b1.58", "bitnet-25"];

impl Format {
    /// All formats, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.1)
    }

    /// The format with this number in a file of this architecture.
    #[must_use]
    pub fn from_id(id: u32, architecture: &str) -> Option<Self> {
        let format = TABLE.iter().find(|row| row.0 == id)?.1;
        (format != Self::I2_S || BITNET.contains(&architecture)).then_some(format)
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

    /// Bytes after a tensor's last block: I2_S keeps its scale there, an F32 in the first 4 of 32 bytes.
    #[must_use]
    pub fn tail_bytes(self) -> u64 {
        if self == Self::I2_S { 32 } else { 0 }
    }

    /// Bytes of a tensor of so many weights, tail included, or nothing when they do not fill whole blocks or the product
    /// overflows.
    #[must_use]
    pub fn bytes_for(self, weights: u64) -> Option<u64> {
        if !weights.is_multiple_of(self.block_weights()) {
            return None;
        }
        (weights / self.block_weights()).checked_mul(self.block_bytes())?.checked_add(self.tail_bytes())
    }

    pub(crate) fn foreign_name(id: u32) -> Option<&'static str> {
        FOREIGN.iter().find(|row| row.0 == id).map(|row| row.1)
    }

    fn row(self) -> &'static (u32, Self, &'static str, u64, u64) {
        TABLE.iter().find(|row| row.1 == self).expect("every format has its row in the table")
    }
}
