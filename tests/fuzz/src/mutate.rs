//! Inputs that are nearly right.
//!
//! The mutations are those that fuzzers have in common (AFL's "havoc"): bits,
//! numbers at their limits, pieces cut out, doubled, or taken from another
//! seed.

/// No input is longer, in bytes: what matters fits, and short ones are fast.
const LONGEST: usize = 16 << 10;

/// Mutations of one seed at most.
const MOST: u64 = 6;

/// Values at which arithmetic goes wrong.
const LIMITS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Makes inputs of seeds. The same number makes the same inputs.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// Of at least one seed; without any, of the empty one.
    pub fn new(number: u64, mut seeds: Vec<Vec<u8>>) -> Self {
        if seeds.is_empty() {
            seeds.push(Vec::new());
        }
        Self {
            state: number,
            seeds,
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        let mut input = self.seeds[seed].clone();
        for _ in 0..=self.number() % MOST {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let length = self.length(input.len() - at);
        match self.number() % 10 {
            0 => {
                let bit = self.number() % 8;
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let new = self.byte();
                if let Some(byte) = input.get_mut(at) {
                    *byte = new;
                }
            }
            2 => self.put_number(&mut input[at..]),
            3 => drop(input.drain(at..at + length)),
            4 => input.truncate(at),
            5 => {
                let piece = input[at..at + length].to_vec();
                input.splice(at..at, piece);
            }
            6 => {
                let (byte, count) = (self.byte(), self.length(LONGEST));
                input.splice(at..at, std::iter::repeat_n(byte, count));
            }
            7 => {
                let piece = self.piece();
                input.splice(at..at, piece);
            }
            8 => {
                let piece = self.piece();
                input.splice(at..at + length, piece);
            }
            _ => {
                // A digit of a number that stands in a text.
                let digit = b'0' + (self.number() % 10) as u8;
                if let Some(byte) = input[at..].iter_mut().find(|it| it.is_ascii_digit()) {
                    *byte = digit;
                }
            }
        }
    }

    /// A limit, or close to one, in any width and order of bytes.
    fn put_number(&mut self, place: &mut [u8]) {
        let limit = LIMITS[self.below(LIMITS.len())];
        let number = limit.wrapping_add(self.number() % 5).wrapping_sub(2);
        let width = 1 << (self.number() % 4);
        let mut bytes = number.to_le_bytes();
        let bytes = &mut bytes[..width];
        if self.number().is_multiple_of(2) {
            bytes.reverse();
        }
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// A part of any seed.
    fn piece(&mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        let from = self.below(self.seeds[seed].len() + 1);
        let length = self.length(self.seeds[seed].len() - from);
        self.seeds[seed][from..from + length].to_vec()
    }

    /// At most `most`, and mostly short.
    fn length(&mut self, most: usize) -> usize {
        let scale = 1 << (self.number() % 14);
        self.below(most.min(scale) + 1)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// From 0 to `end`, which is excluded and not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
    /// Generators", 2014).
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_makes_the_same_inputs() {
        let inputs = |number| {
            let mut mutator = Mutator::new(number, vec![b"one".to_vec(), b"two, three".to_vec()]);
            (0..1000).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().all(|input| input.len() <= LONGEST));
    }

    #[test]
    fn no_seeds_are_no_trouble() {
        let mut mutator = Mutator::new(1, Vec::new());
        assert!((0..1000).any(|_| !mutator.input().is_empty()));
    }
}
