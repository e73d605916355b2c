// Softmax cross-entropy per sample, and the optimizer's passes over parameters.
// SPDX-License-Identifier: Apache-2.0

struct RowSums {
  double exponentials, shifted;  // sum e^(z - top), sum (z - top)
  float top;
};

float row_maximum(const float* z, std::int64_t k) {
  float top = z[0];
  std::int64_t j = 0;
  if (k >= kW) {
    vf best = load(z);
    for (; j < whole(k); j += kW) best = load(z + j) > best ? load(z + j) : best;
    for (int lane = 0; lane < kW; ++lane) top = best[lane] > top ? best[lane] : top;
  }
  for (; j < k; ++j) top = z[j] > top ? z[j] : top;
  return top;
}

// `exponentials` (k), if given, receives e^(z - top).
RowSums sum_row(const float* z, std::int64_t k, float* exponentials) {
  const float top = row_maximum(z, k);
  RowSums sums{0, 0, top};
  for (std::int64_t j = 0; j < k; j += kW) {
    const std::int64_t count = smaller(kW, k - j);
    vf shifted{};
    if (count == kW)
      shifted = load(z + j) - top;
    else
      for (std::int64_t lane = 0; lane < count; ++lane) shifted[lane] = z[j + lane] - top;
    const vf power = exp_nonpositive(shifted);
    sums.shifted += sum_of(shifted);
    for (std::int64_t lane = 0; lane < count; ++lane) sums.exponentials += power[lane];
    if (exponentials == nullptr) continue;
    if (count == kW)
      store(exponentials + j, power);
    else
      for (std::int64_t lane = 0; lane < count; ++lane) exponentials[j + lane] = power[lane];
  }
  return sums;
}

// Classes that come before `label`: a larger logit, or an equal one at a lower index.
std::int32_t rank_of(const float* z, std::int64_t k, std::int64_t label) {
  const float own = z[label];
  if (own != own) return 0x7fffffff;
  std::int32_t better = 0;
  for (std::int64_t j = 0; j < k; ++j) better += (z[j] > own || (z[j] == own && j < label)) ? 1 : 0;
  return better;
}

void softmax(const Softmax& a) {
  const double off = a.smoothing / static_cast<double>(a.k), on = 1.0 - a.smoothing;
  for (std::int64_t i = 0; i < a.n; ++i) {
    const float* z = a.logits + i * a.k;
    float* d = a.dlogits == nullptr ? nullptr : a.dlogits + i * a.k;
    const std::int32_t label = a.labels[i];
    if (label < 0) {
      a.losses[i] = 0;
      a.better[i] = 0x7fffffff;
      if (d != nullptr) clear(d, a.k);
      continue;
    }
    const RowSums sums = sum_row(z, a.k, d);
    const double weight = a.mix == nullptr ? 1.0 : static_cast<double>(a.mix[i].weight);
    double own = static_cast<double>(z[label]) - sums.top;
    if (weight != 1.0) own = weight * own + (1.0 - weight) * (static_cast<double>(z[a.mix[i].label]) - sums.top);
    a.losses[i] = __builtin_log(sums.exponentials) - on * own - off * sums.shifted;
    a.better[i] = rank_of(z, a.k, label);
    if (d == nullptr) continue;
    const auto factor = static_cast<float>(a.grad_scale / sums.exponentials);
    const auto shift = static_cast<float>(-off * a.grad_scale);
    std::int64_t j = 0;
    for (; j < whole(a.k); j += kW) store(d + j, load(d + j) * factor + shift);
    for (; j < a.k; ++j) d[j] = d[j] * factor + shift;
    d[label] -= static_cast<float>(on * a.grad_scale * weight);
    if (weight != 1.0) d[a.mix[i].label] -= static_cast<float>(on * a.grad_scale * (1.0 - weight));
  }
}

template <bool kNesterov, bool kCompute>
void sgd_as(const Sgd& a, float* value, const float* grad, float* momentum, bf16_word* compute, std::int64_t n) {
  for_units<float>(n, [&](std::int64_t i, auto span) {
    const vf v = get_ahead(value + i, span).part[0];
    const vf g = get_ahead(grad + i, span).part[0] * a.grad_scale + v * a.weight_decay;
    const vf m = get_ahead(momentum + i, span).part[0] * a.momentum + g;
    const vf updated = v - (kNesterov ? g + m * a.momentum : m) * a.lr;
    put(momentum + i, Unit<float>{{m}}, span);
    put(value + i, Unit<float>{{updated}}, span);
    if constexpr (kCompute) put_words(compute + i, updated, span);
  });
}

void sgd(const Sgd& a, float* value, const float* grad, float* momentum, bf16_word* compute, std::int64_t n) {
  if (compute == nullptr)
    return a.nesterov ? sgd_as<true, false>(a, value, grad, momentum, compute, n) : sgd_as<false, false>(a, value, grad, momentum, compute, n);
  return a.nesterov ? sgd_as<true, true>(a, value, grad, momentum, compute, n) : sgd_as<false, true>(a, value, grad, momentum, compute, n);
}

double squared_sum(const float* x, std::int64_t n) {
  vd total0{}, total1{}, total2{}, total3{};
  std::int64_t i = 0;
  for (; i + 2 * kW <= n; i += 2 * kW) {
    const vd a = load_widened(x + i), b = load_widened(x + i + kW / 2);
    const vd c = load_widened(x + i + kW), d = load_widened(x + i + kW + kW / 2);
    total0 += a * a;
    total1 += b * b;
    total2 += c * c;
    total3 += d * d;
  }
  double total = sum_of((total0 + total1) + (total2 + total3));
  for (; i < n; ++i) total += static_cast<double>(x[i]) * x[i];
  return total;
}

void blend(const float* observed, float keep, float take, float* value, std::int64_t n) {
  std::int64_t i = 0;
  for (; i < whole(n); i += kW) store(value + i, load(value + i) * keep + load(observed + i) * take);
  for (; i < n; ++i) value[i] = value[i] * keep + observed[i] * take;
}

// Twelve chains cover two units of four cycles' latency.
constexpr int kFmaChains = 12;

float fma_chains(std::int64_t rounds, float factor) {
  const vf factors = splat(factor);
  vf sums[kFmaChains];
  for (int chain = 0; chain < kFmaChains; ++chain) sums[chain] = factors * static_cast<float>(chain);
  for (std::int64_t round = 0; round < rounds; ++round)
    for (vf& sum : sums) sum = sum * factors + factors;
  vf total{};
  for (const vf& sum : sums) total += sum;
  return sum_of(total);
}
