//! Irreducible polynomials over GF(2) of degree 53, which restic demands in a
//! repository's config. Our own chunker does not use them.
//!
//! Source: restic `chunker/polynomials.go`; the test is Ben-Or's (Gao and
//! Panario, "Tests and Constructions of Irreducible Polynomials over Finite
//! Fields", 1997).

use std::fmt;

use super::FormatError;

/// The degree that restic demands.
const DEGREE: u32 = 53;

/// A polynomial; bit `i` is the coefficient of `x^i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Polynomial(pub(super) u64);

impl Polynomial {
    /// A random irreducible polynomial of degree 53. About every 53rd with a
    /// constant term is, so this takes some hundred tries at most.
    pub(super) fn generate() -> Result<Self, FormatError> {
        loop {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes)?;
            let low = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1);
            let candidate = Self(low | 1 << DEGREE | 1);
            if candidate.is_irreducible() {
                return Ok(candidate);
            }
        }
    }

    /// Whether restic accepts it.
    pub(super) fn is_valid(self) -> bool {
        degree(u128::from(self.0)) == Some(DEGREE) && self.is_irreducible()
    }

    /// Ben-Or: `f` is irreducible when it shares no factor with
    /// `x^(2^i) - x` for any `i` up to half its degree.
    fn is_irreducible(self) -> bool {
        let Some(n) = degree(u128::from(self.0)) else {
            return false;
        };
        let x = 0b10;
        let mut power = x;
        for _ in 0..n / 2 {
            power = square_modulo(power, self.0);
            if gcd(self.0, power ^ x) != 1 {
                return false;
            }
        }
        n > 0
    }
}

impl fmt::Display for Polynomial {
    /// As in a config: hexadecimal without prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

fn degree(polynomial: u128) -> Option<u32> {
    polynomial.checked_ilog2()
}

fn remainder(mut dividend: u128, divisor: u64) -> u64 {
    let divisor = u128::from(divisor);
    if let Some(divisor_degree) = degree(divisor) {
        while let Some(shift) = degree(dividend).and_then(|d| d.checked_sub(divisor_degree)) {
            dividend ^= divisor << shift;
        }
    }
    // Smaller than the divisor now, which has 64 bits.
    dividend as u64
}

fn square_modulo(polynomial: u64, modulus: u64) -> u64 {
    let square = (0..u64::BITS)
        .filter(|bit| polynomial >> bit & 1 == 1)
        .fold(0, |sum, bit| sum | 1_u128 << (2 * bit));
    remainder(square, modulus)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, remainder(u128::from(a), b));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By trial division: for small polynomials only.
    fn has_no_divisor(polynomial: u64) -> bool {
        polynomial > 1
            && (2..polynomial)
                .take_while(|d| d.ilog2() * 2 <= polynomial.ilog2())
                .all(|d| remainder(u128::from(polynomial), d) != 0)
    }

    #[test]
    fn agrees_with_trial_division_on_all_small_polynomials() {
        for polynomial in 2..5000 {
            assert_eq!(
                Polynomial(polynomial).is_irreducible(),
                has_no_divisor(polynomial),
                "{polynomial:b}"
            );
        }
    }

    #[test]
    fn generated_ones_are_valid() {
        for _ in 0..20 {
            assert!(Polynomial::generate().unwrap().is_valid());
        }
    }

    // The first is restic's own, from `chunker_test.go`; the others were made
    // by `restic init`.
    #[test]
    fn accepts_those_of_restic_and_refuses_products() {
        assert!(Polynomial(0x003d_a335_8b4d_c173).is_valid());
        assert!(Polynomial(0x2c_b252_0833_d42d).is_valid());
        assert!(
            !Polynomial(0x2c_b252_0833_d42d ^ 1).is_valid(),
            "divisible by x"
        );
        assert!(
            !Polynomial(0b10011).is_valid(),
            "irreducible, but of degree 4"
        );
        assert!(!Polynomial(0).is_valid());
        assert!(!Polynomial(1).is_valid());
    }
}
