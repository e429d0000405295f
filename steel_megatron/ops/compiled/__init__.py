"""Operations in torch's own words that torch.compile fuses into one kernel or two: for machines without nvcc."""
