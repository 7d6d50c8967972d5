"""The streamed metrics in the shape of other libraries' metric classes.

`jaxbench.adapters.clu` for training loops with `clu.metrics`,
`jaxbench.adapters.nnx` for those with `flax.nnx`. Import the one you need: this
package imports neither.
"""
