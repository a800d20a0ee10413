//! Costs and their bounds, and Argon2's own vectors.

use super::*;

#[test]
fn a_calibrated_cost_is_always_one_that_a_slot_may_have() {
    for target_ms in [0u64, 1, 50, 300, 1_000, 60_000, u64::MAX / 1_000_000] {
        for took_us in [0u64, 10, 80_000, 5_000_000] {
            let cost = cost_for(
                128 * 1024,
                Duration::from_micros(took_us),
                Duration::from_millis(target_ms),
            );
            cost.check(KdfCost::FLOOR, DEFAULT_KDF_CEILING).unwrap();
        }
    }
}

#[test]
fn a_longer_target_never_costs_less() {
    let took = Duration::from_millis(100);
    let mut last = 0;
    for target_ms in [10u64, 100, 500, 1_000, 5_000] {
        let cost = cost_for(128 * 1024, took, Duration::from_millis(target_ms)).kib_passes();
        assert!(cost >= last);
        last = cost;
    }
}

#[test]
fn argon2id_gives_rfc_9106_test_vector_5_3() {
    // RFC 9106 section 5.3, with its secret and associated data.
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let blocks = params.block_count();
    let argon2 =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut out = [0; 32];
    argon2
        .hash_password_into_with_memory(&[1; 32], &[2; 16], &mut out, vec![Block::new(); blocks])
        .unwrap();
    assert_eq!(
        data_encoding::HEXLOWER.encode(&out),
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    );
}

#[test]
fn argon2id_gives_the_reference_implementations_vectors() {
    // The test.c of the reference implementation, version 0x13, through the code that opens slots.
    for (m_kib, passes, lanes, password, salt, expected) in [
        (
            256,
            2,
            1,
            "password",
            "somesalt",
            "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe",
        ),
        (
            256,
            2,
            2,
            "password",
            "somesalt",
            "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037",
        ),
        (
            65_536,
            2,
            1,
            "differentpassword",
            "somesalt",
            "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde",
        ),
        (
            65_536,
            2,
            1,
            "password",
            "diffsalt",
            "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c",
        ),
    ] {
        let cost = KdfCost {
            m_kib,
            passes,
            lanes,
        };
        let params = cost.params().unwrap();
        let mut memory = vec![Block::new(); params.block_count()];
        let mut out = [0; 32];
        run_argon2(
            password.as_bytes(),
            salt.as_bytes(),
            params,
            &mut out,
            &mut memory,
        )
        .unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&out), expected);
    }
}
