//! MD5 (RFC 1321) and CRC-32C (RFC 3720, appendix B.4), by which Cloud Storage's clients check what arrived. Neither protects against malice: content
//! is kept under SHA-256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Both sums of what went through.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    md5: Md5,
    crc: u32,
}

impl Sums {
    pub(super) fn new() -> Self {
        Self { md5: Md5::new(), crc: !0 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc = bytes.iter().fold(self.crc, |crc, byte| (crc >> 8) ^ CRC32C[usize::from(crc.to_le_bytes()[0] ^ byte)]);
    }

    /// Both as Cloud Storage writes them: the bytes of the MD5 and those of the CRC, the highest first, in base64.
    pub(super) fn finish(self) -> Written {
        Written { md5: STANDARD.encode(self.md5.finish()), crc32c: STANDARD.encode((!self.crc).to_be_bytes()) }
    }
}

/// Sums in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) md5: String,
    pub(super) crc32c: String,
}

const CRC32C: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    let mut seed = 0_u32;
    while at < 256 {
        let mut crc = seed;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
        seed += 1;
    }
    table
}

#[derive(Debug, Clone)]
struct Md5 {
    state: [u32; 4],
    length: u64,
    held: [u8; 64],
    count: usize,
}

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// `floor(2^32 * abs(sin(i + 1)))`.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

impl Md5 {
    fn new() -> Self {
        Self { state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], length: 0, held: [0; 64], count: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let taken = bytes.len().min(64 - self.count);
            self.held[self.count..self.count + taken].copy_from_slice(&bytes[..taken]);
            self.count += taken;
            bytes = &bytes[taken..];
            if self.count == 64 {
                self.count = 0;
                let block = self.held;
                self.block(&block);
            }
        }
    }

    fn block(&mut self, block: &[u8; 64]) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let [mut a, mut b, mut c, mut d] = self.state;
        for step in 0..64 {
            let (mixed, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), 5 * step + 1),
                2 => (b ^ c ^ d, 3 * step + 5),
                _ => (c ^ (b | !d), 7 * step),
            };
            let sum = a.wrapping_add(mixed).wrapping_add(SINES[step]).wrapping_add(words[word % 16]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4])));
        }
        for (state, new) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(new);
        }
    }

    fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        self.update(&[0x80]);
        while self.count != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_le_bytes());
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"))
    }

    #[test]
    fn the_rfcs_own_examples() {
        let md5 = |text: &str| {
            let mut md5 = Md5::new();
            text.bytes().for_each(|byte| md5.update(&[byte]));
            hex(&md5.finish())
        };
        assert_eq!(md5(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(md5(&"1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a");
        let crc = |bytes: &[u8]| {
            let mut sums = Sums::new();
            sums.update(bytes);
            hex(&(!sums.crc).to_be_bytes())
        };
        assert_eq!(crc(&[0; 32]), "8a9136aa");
        assert_eq!(crc(&[0xff; 32]), "62a8ab43");
        assert_eq!(crc(b"123456789"), "e3069283");
    }
}
