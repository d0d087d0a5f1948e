//! The engine's readers of strangers' bytes, each as one function of bytes that must not panic, hang or swallow memory.
//!
//! The campaigns call them with a fuzzer's bytes, the ordinary tests with mutated fixtures.

use outpost_engine::gguf;
use outpost_engine::template::{ChatTemplate, Message, RenderOptions};
use outpost_engine::tokenizer::{Tokenizer, huggingface};

/// A header that is accepted keeps its promises: tensors lie inside the file, hold what their shape says, and do not overlap.
pub fn gguf_validator(bytes: &[u8]) {
    let Ok(header) = gguf::parse(bytes) else { return };
    let mut ranges: Vec<_> = header.tensors.iter().map(|tensor| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start <= range.end && range.end <= bytes.len()), "outside of the file");
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "overlapping");
    for tensor in &header.tensors {
        assert_eq!(header.tensor(&tensor.name), Some(tensor), "not found under its own name");
    }
    for (key, value) in &header.metadata {
        assert!(header.get(key).is_some_and(|found| std::ptr::eq(found, value)), "not found under its own key");
    }
}

/// A template that compiles renders within its bounds or says why not. What stands after the first NUL is what people said.
///
/// In this process nothing bounds how deep a source or a list in a list nests, nor a comparison of two such lists, nor the
/// width that `str.format` fills; the agent's process for templates does, and its own tests hold that.
pub fn template_renderer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (source, said) = text.split_once('\0').unwrap_or((&text, "Hello"));
    let Ok(template) = ChatTemplate::new(source, None) else { return };
    if template.compile().is_err() {
        return;
    }
    let mut messages = vec![Message::new("system", "Be brief."), Message::new("user", said)];
    messages.push(Message::new("assistant", said.chars().rev().collect::<String>()));
    messages.push(Message::new("user", "And now?"));
    // One way or the other: all of a template's fuel takes a second under a sanitizer.
    let options = RenderOptions { add_generation_prompt: bytes.len().is_multiple_of(2), ..RenderOptions::default() };
    let first = template.render_text(&messages, &options).ok();
    assert_eq!(first, template.render_text(&messages, &options).ok(), "the same conversation rendered differently");
}

/// A vocabulary that loads, from GGUF keys or from a `tokenizer.json`, turns text into tokens that it knows and back, in one piece or streamed.
pub fn tokenizer_loader(bytes: &[u8]) {
    let metadata = match bytes.first() {
        Some(b'{') => huggingface::metadata(bytes, None).ok(),
        _ => gguf::parse(bytes).ok().map(|header| header.metadata),
    };
    let Some(Ok(tokenizer)) = metadata.map(|metadata| Tokenizer::from_metadata(&metadata)) else { return };
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(96)..]);
    for text in [tail.as_ref(), "The café's 12,345 <|im_end|> ☃\n\n\t</s> ▁of  it", ""] {
        for (special, bos) in [(false, false), (true, true)] {
            let tokens = tokenizer.encode(text, special, bos);
            assert!(tokens.iter().all(|token| (*token as usize) < tokenizer.vocabulary()), "an unknown token");
            let whole = tokenizer.decode(&tokens);
            let mut stream = tokenizer.decode_stream();
            let mut parts: String = tokens.iter().filter_map(|token| stream.push(*token)).collect();
            parts.extend(stream.finish());
            assert_eq!(whole, parts, "streamed text differs");
        }
    }
}
