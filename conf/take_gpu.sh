# Sourced before a task: take_gpu.sh NUMBER FOLDER waits for one of so many GPUs and makes it the only one that is seen.
# A GPU is taken by a lock in the folder, which the task's processes hold until the last of them has ended.

# who hides all GPUs means it
[[ ${CUDA_VISIBLE_DEVICES-0} =~ ^(-1)?$ ]] && return
IFS=, read -r -a gpus <<< "${CUDA_VISIBLE_DEVICES-$(seq -s, 0 $(($1 - 1)))}"
taken=
until [[ $taken ]]; do
    for gpu in "${gpus[@]:0:$1}"; do
        exec {lock}> "$2/gpu_$gpu.lock"
        if flock --nonblock "$lock"; then
            taken=$gpu
            break
        elif (($? > 1)); then
            echo "WARNING: $2 cannot be locked: GPU $gpu is used whether another task uses it or not" >&2
            taken=$gpu
            break
        fi
        exec {lock}>&-
    done
    [[ $taken ]] || sleep 1
done
export CUDA_VISIBLE_DEVICES=$taken
