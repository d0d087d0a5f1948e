//! Ten thousand texts per vocabulary come back from their tokens, whole and in a stream.

use super::made::hello;
use super::*;

const TEXTS: usize = 10_000;

/// Texts of all sorts, the same on every run. U+2581 is left out: SentencePiece vocabularies use it for the space.
fn texts() -> impl Iterator<Item = String> {
    const PIECES: &[&str] = &[
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "the ",
        " and",
        "'ll",
        "'S",
        "don't",
        "123",
        "4567",
        "Ünïcode",
        "ﬁ",
        "e\u{301}",
        "<|im_end|>",
        "</s>",
        "<s>",
        "<|end|>",
        "<0x0A>",
        "🦙",
        "👩‍🚀",
        "日本語",
        "Привет",
        "\u{0}",
        "{}",
        "=>",
        "...",
        "العربية",
    ];
    let mut state = 0x5EED_u64;
    let mut below = move |limit: u32| {
        // The multiplier and the addend are Knuth's; the high bits are the random ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).expect("31 bits") % limit
    };
    std::iter::repeat_with(move || {
        let mut text = String::new();
        for _ in 0..below(20) {
            match below(4) {
                0 => text.extend(char::from_u32(below(0x11_0000)).filter(|any| *any != '\u{2581}')),
                1 => text.extend(char::from_u32(0x20 + below(0x5F))),
                _ => text.push_str(PIECES[below(u32::try_from(PIECES.len()).expect("few")) as usize]),
            }
        }
        text
    })
    .take(TEXTS)
}

#[test]
fn ten_thousand_texts_come_back_from_each_vocabulary() {
    let made = Tokenizer::from_metadata(&hello()).expect("the tokenizer builds");
    for (name, tokenizer) in [("qwen2", qwen2()), ("phi-3", phi3()), ("made by hand", &made)] {
        for text in texts() {
            let tokens = tokenizer.encode(&text, false, false);
            assert_eq!(tokenizer.decode(&tokens), text, "{name}");
            let mut stream = tokenizer.decode_stream();
            let mut streamed: String = tokens.iter().filter_map(|id| stream.push(*id)).collect();
            streamed.extend(stream.finish());
            assert_eq!(streamed, text, "{name}, in a stream");
        }
    }
}
