//! Asks the training graph the held-out phrasings, to see where training stands.

use anyhow::Result;
use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};

use super::facts::{Answered, HeldOut, carries};
use super::network::{Network, Noise};
use super::vocabulary::Vocabulary;

/// Answers are one or two short sentences; this is well above the longest.
const ANSWER_TOKENS: usize = 72;

/// Greedy answers of the training graph, all phrasings in one batch, optionally with rounded matrices.
pub(crate) fn with_network(
    network: &Network,
    vocabulary: &Vocabulary,
    held_out: &[HeldOut],
    rounded: Option<GgmlDType>,
) -> Result<Vec<Answered>> {
    let noise = Noise { rounded, ..Noise::default() };
    let mut conversations =
        held_out.iter().map(|phrasing| vocabulary.prompt(&phrasing.question)).collect::<Result<Vec<_>>>()?;
    let prompts: Vec<usize> = conversations.iter().map(Vec::len).collect();
    let mut open: Vec<usize> = (0..conversations.len()).collect();
    for _ in 0..ANSWER_TOKENS {
        if open.is_empty() {
            break;
        }
        let time = open.iter().map(|&index| conversations[index].len()).max().unwrap_or(1);
        let mut tokens = vec![vocabulary.turn_end; open.len() * time];
        let mut rows = Vec::new();
        for (row, &index) in open.iter().enumerate() {
            let conversation = &conversations[index];
            tokens[row * time..][..conversation.len()].copy_from_slice(conversation);
            rows.push((row * time + conversation.len() - 1) as u32);
        }
        let tokens = Tensor::from_vec(tokens, (open.len(), time), &Device::Cpu)?;
        let next =
            network.logits(&tokens, &Tensor::new(rows, &Device::Cpu)?, &noise)?.detach().argmax(1)?.to_vec1::<u32>()?;
        for (&index, next) in open.iter().zip(next) {
            conversations[index].push(next);
        }
        open.retain(|&index| conversations[index].last() != Some(&vocabulary.turn_end));
    }
    held_out
        .iter()
        .zip(conversations.iter().zip(prompts))
        .map(|(phrasing, (conversation, prompt))| {
            let answer = vocabulary.decode(&conversation[prompt..])?;
            let right = carries(&answer, &phrasing.proof);
            Ok(Answered { question: phrasing.question.clone(), answer, right })
        })
        .collect()
}
