"""Kernels are told apart by their names, and overlapping ones are not counted twice as busy time."""

from __future__ import annotations

import pytest
from step_profile import KIND_NAMES, counts, covered, kind_of, markdown


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matmuls"),
        ("sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x32", "matmuls"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x256>", "matmuls"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 64>>", "attention"),
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90<float>>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma", "attention"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>", "optimizer"),
        ("void adamw_kernel<__nv_bfloat16>", "optimizer"),
        ("void rms_norm_forward_kernel<__nv_bfloat16>", "memory-bound"),
        ("Memcpy DtoD (Device -> Device)", "memory-bound"),
        ("aten::mm", "matmuls"),
        ("aten::addmm_", "matmuls"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("steel::adamw_", "optimizer"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::mul", "memory-bound"),
        ("steel::rms_norm", "memory-bound"),
    ],
)
def test_kind_of_work(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_frames_around_operations_do_not_count() -> None:
    assert counts("aten::mm")
    assert counts("steel::rope")
    assert not counts("autograd::engine::evaluate_function: MmBackward0")
    assert not counts("MmBackward0")


def test_busy_time_is_the_union_of_spans() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 2.5)]) == 4.0
    assert covered([]) == 0.0


def test_table_has_every_kind() -> None:
    shares = dict.fromkeys(KIND_NAMES, 0.2)
    assert markdown({"x": shares}).splitlines()[-1] == "| x |" + " 20% |" * 5
