# Written by tools/docs/kernel_stub.py from csrc/ops/declarations.h, which says what the kernels compute.
from types import ModuleType

class Kernels(ModuleType):
    """The kernels for an instruction set; pointers are addresses, 0 is no tensor."""

    @staticmethod
    def norm_forward(
        dtype: int,
        x: int,
        residual: int,
        weight: int,
        bias: int,
        y: int,
        sum: int,
        mean: int,
        rstd: int,
        rows: int,
        hidden: int,
        epsilon: float,
        threads: int,
    ) -> None: ...
    @staticmethod
    def norm_backward(
        dtype: int,
        grad: int,
        grad_sum: int,
        x: int,
        weight: int,
        mean: int,
        rstd: int,
        grad_x: int,
        grad_weight: int,
        partial: int,
        rows: int,
        hidden: int,
        threads: int,
    ) -> None: ...
    @staticmethod
    def activation_forward(
        dtype: int, x: int, y: int, function: int, gated: int, rows: int, width: int, threads: int
    ) -> None: ...
    @staticmethod
    def activation_backward(
        dtype: int, grad: int, x: int, grad_x: int, function: int, gated: int, rows: int, width: int, threads: int
    ) -> None: ...
    @staticmethod
    def cross_entropy_forward(
        dtype: int,
        logits: int,
        labels: int,
        lse: int,
        target: int,
        rows: int,
        columns: int,
        first: int,
        real: int,
        threads: int,
    ) -> None: ...
    @staticmethod
    def cross_entropy_backward(
        dtype: int,
        logits: int,
        labels: int,
        lse: int,
        probability_scale: int,
        label_scale: int,
        rows: int,
        columns: int,
        first: int,
        real: int,
        threads: int,
    ) -> None: ...
    @staticmethod
    def adamw(
        dtype: int,
        exp_avg_dtype: int,
        exp_avg_sq_dtype: int,
        table: int,
        chunks: int,
        chunk_count: int,
        scale: int,
        lr: float,
        beta1: float,
        beta2: float,
        epsilon: float,
        weight_decay: float,
        correction1: float,
        correction2: float,
        number: int,
        threads: int,
    ) -> None: ...
    @staticmethod
    def sum_of_squares(
        dtype: int, table: int, chunks: int, chunk_count: int, partial: int, total: int, threads: int
    ) -> None: ...
    @staticmethod
    def rope(
        dtype: int,
        x: int,
        cosine: int,
        sine: int,
        y: int,
        batch: int,
        length: int,
        heads: int,
        size: int,
        half: int,
        x_batch: int,
        x_position: int,
        x_head: int,
        y_batch: int,
        y_position: int,
        y_head: int,
        tables: int,
        direction: float,
        threads: int,
    ) -> None: ...
    @staticmethod
    def qk_norm_rope_forward(
        dtype: int,
        x: int,
        query_weight: int,
        key_weight: int,
        cosine: int,
        sine: int,
        y: int,
        rstd: int,
        batch: int,
        length: int,
        queries: int,
        keys: int,
        size: int,
        half: int,
        tables: int,
        epsilon: float,
        threads: int,
    ) -> None: ...
    @staticmethod
    def qk_norm_rope_backward(
        dtype: int,
        grad_query: int,
        grad_key: int,
        grad_value: int,
        x: int,
        query_weight: int,
        key_weight: int,
        rstd: int,
        cosine: int,
        sine: int,
        grad_x: int,
        grad_weights: int,
        partial: int,
        batch: int,
        length: int,
        queries: int,
        keys: int,
        size: int,
        half: int,
        query_batch: int,
        query_position: int,
        query_head: int,
        key_batch: int,
        key_position: int,
        key_head: int,
        value_batch: int,
        value_position: int,
        value_head: int,
        tables: int,
        threads: int,
    ) -> None: ...
    @staticmethod
    def attention_forward(
        dtype: int,
        q: int,
        k: int,
        v: int,
        y: int,
        lse: int,
        starts: int,
        documents: int,
        heads: int,
        kv_heads: int,
        size: int,
        q_token: int,
        q_head: int,
        k_token: int,
        k_head: int,
        v_token: int,
        v_head: int,
        scale: float,
        threads: int,
    ) -> None: ...
    @staticmethod
    def attention_backward(
        dtype: int,
        grad: int,
        q: int,
        k: int,
        v: int,
        y: int,
        lse: int,
        grad_q: int,
        grad_k: int,
        grad_v: int,
        starts: int,
        documents: int,
        heads: int,
        kv_heads: int,
        size: int,
        q_token: int,
        q_head: int,
        k_token: int,
        k_head: int,
        v_token: int,
        v_head: int,
        scale: float,
        threads: int,
    ) -> None: ...
    @staticmethod
    def few_tokens_linear(
        dtype: int, x: int, weight: int, bias: int, y: int, tokens: int, rows: int, features: int, threads: int
    ) -> None: ...
    @staticmethod
    def embedding_gradient(
        dtype: int,
        target_dtype: int,
        target: int,
        grad: int,
        ids: int,
        order: int,
        partial: int,
        tokens: int,
        vocabulary: int,
        hidden: int,
        threads: int,
    ) -> None: ...

best: Kernels
instruction_set: str
SIGNATURES: str
CHUNK: int
